"""Logs: readable text on stderr at home. Debug is every message, info lifecycle, warning degraded but handled."""

from __future__ import annotations

import logging
import sys


def set_up_logs(component: str, level: int = logging.INFO) -> None:
    """Send this process's logs to stderr, each line with the component's name."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format=f"%(asctime)s {component} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
