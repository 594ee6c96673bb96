"""`penstock stdio`: a step as a program that reads requests from stdin and writes answers to stdout, a line each.

A composition root. What works on pictures is imported where it is needed, so that the allocator is set before OpenCV
is loaded.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from penstock.common.logs import set_up_logs
from penstock.common.registry import declare_steps, operations
from penstock.common.settings import Limits, SettingsError, WorkerSettings
from penstock.worker.served_steps import read_steps


def speak(settings: WorkerSettings, limits: Limits, root: Path | None) -> int:
    """Answer requests until the input ends; returns the exit status.

    Where a program performs the steps, this process becomes that program.

    Raises:
        SettingsError: no such step, a folder that is none, or a program that cannot be run.
    """
    if settings.program:
        _become(settings.program)
    if root is not None and not root.is_dir():
        raise SettingsError("invalid_settings", f"--root {root}: there is no such folder")
    requests, answers = take_streams()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # files are whole or not there
    set_up_logs("stdio")
    declare_steps(settings.step_schemas)
    served = read_steps(settings.steps)
    from penstock.worker.process import preload  # noqa: F401 (first: it sets the allocator before OpenCV is loaded)
    from penstock.worker.executors.stdio_server import StdioServer  # isort: skip

    try:
        StdioServer([step for step in operations() if step in served], limits, root).serve(requests, answers)
    except BrokenPipeError:
        os._exit(0)  # nobody reads the answers any more
    return 0


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return stdin and stdout, and put others in their places: what a library prints goes to stderr."""
    sys.stdout.flush()
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def _become(program: tuple[str, ...]) -> None:
    try:
        os.execvp(program[0], program)  # noqa: S606 (it is what the step's author named)
    except OSError as error:
        raise SettingsError(
            "invalid_settings", f"PENSTOCK_PROGRAM: {program[0]} cannot be run: {error.strerror}"
        ) from error
