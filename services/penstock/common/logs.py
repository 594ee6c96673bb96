"""Logs on stderr: a line of text each where a person looks, a JSON object each where a machine does.

Debug is every message, info lifecycle, warning degraded but handled, error a failure that nobody expected. What is
logged while a chunk is worked on bears its job, step and chunk, wherever in the code that is.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from penstock.common.settings import LogSettings, load

FIELDS = ("job", "step", "chunk")
_ABOUT: ContextVar[dict[str, str]] = ContextVar("about")
_NOTHING: dict[str, str] = {}
_CHATTY = ("asyncio", "kubernetes", "pika", "urllib3")
"""Libraries whose debugging is about themselves."""


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Have every record of this context bear `job`, `step` or `chunk`, besides those that it bears already."""
    token = _ABOUT.set({**_ABOUT.get(_NOTHING), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def update_log_context(**fields: str) -> None:
    """Have what follows in the innermost `about` bear these instead."""
    _ABOUT.set({**_ABOUT.get(_NOTHING), **fields})


def set_up_logs(component: str, settings: LogSettings | None = None) -> None:
    """Send this process's logs, Python's warnings and what ends its threads to stderr.

    Raises:
        SettingsError: PENSTOCK_LOG_FORMAT or PENSTOCK_LOG_LEVEL is none that is known.
    """
    settings = load(LogSettings) if settings is None else settings
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component) if writes_json(settings) else TextFormatter(component))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for other in _CHATTY:
        logging.getLogger(other).setLevel(max(logging.INFO, logging.getLogger().level))
    sys.excepthook = _log_end
    threading.excepthook = _log_thread_end


def writes_json(settings: LogSettings) -> bool:
    """Return whether logs are JSON: as the settings say, or else where stderr is no terminal."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())


class TextFormatter(logging.Formatter):
    """`12:00:00 worker WARNING what happened (job 1f, step blur)`."""

    def __init__(self, component: str) -> None:
        shown = component.replace("%", "%%")
        super().__init__(f"%(asctime)s {shown} %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        known = ", ".join(f"{name} {value}" for name, value in fields_of(record).items())
        line = super().formatMessage(record)
        return f"{line} ({known})" if known else line


class JsonFormatter(logging.Formatter):
    """One JSON object a record; `time`, `severity` and `message` as Google's and others' collectors read them."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "severity": record.levelname,
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """Return the job, step and chunk that a record is about: its own (`extra=`), or its context's."""
    context = _ABOUT.get(_NOTHING)
    found = {name: getattr(record, name, None) or context.get(name) for name in FIELDS}
    return {name: str(value) for name, value in found.items() if value}


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger("penstock").critical("this process ends", exc_info=(kind, error, trace))


def _log_thread_end(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread else "?"
    error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    logging.getLogger("penstock").critical("thread %s ends", name, exc_info=error)
