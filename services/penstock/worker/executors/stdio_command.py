"""`penstock stdio`: a step as a program that reads requests from stdin and writes answers to stdout, one per line.

A composition root. Modules that need OpenCV are imported late, because the allocator must be configured first.
"""

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from penstock.common.logs import set_up_logs
from penstock.common.registry import declare_steps, operations
from penstock.common.settings import Limits, SettingsError, WorkerSettings
from penstock.worker.process.served_steps import read_steps


def run_stdio(settings: WorkerSettings, limits: Limits, root: Path | None) -> int:
    """Answer requests until the input ends; returns the exit status.

    If the settings name a program, this process becomes that program.

    Raises:
        SettingsError: no such step, no such folder, or a program that cannot be run.
    """
    if settings.program:
        try:
            os.execvp(settings.program[0], settings.program)  # noqa: S606 (the step's author named it)
        except OSError as error:
            message = f"PENSTOCK_PROGRAM: {settings.program[0]} cannot be run: {error.strerror}"
            raise SettingsError("invalid_settings", message) from error
    if root is not None and not root.is_dir():
        raise SettingsError("invalid_settings", f"--root {root}: no such folder")
    requests, answers = take_streams()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # files are written atomically
    set_up_logs("stdio")
    declare_steps(settings.declared_steps)
    served = read_steps(settings.steps)
    from penstock.worker.process import preload  # noqa: F401 (first: it configures the allocator before OpenCV)
    from penstock.worker.process.device import use_device  # isort: skip
    from penstock.worker.executors.stdio_server import StdioServer

    use_device(settings.device)
    steps = [step for step in operations() if step in served]
    try:
        StdioServer(steps, limits, root, gpu=settings.device == "cuda").serve(requests, answers)
    except BrokenPipeError:
        os._exit(0)  # the reader has gone
    return 0


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return stdin and stdout, and replace them: from now on, what libraries print goes to stderr."""
    sys.stdout.flush()
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")
