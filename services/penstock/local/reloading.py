"""Reloader: `python -m penstock.local.reloading worker` restarts a Penstock command whenever its code changes.

For `skaffold dev`, which copies changed files into running containers. Never use it in production.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import penstock

POLL_SECS = 0.5


def run(command: Sequence[str], folder: Path) -> int:
    """Run `command` until SIGTERM or SIGINT, and restart it after every change to a `.py` file below `folder`.

    A command that has ended, for example because of a syntax error, is restarted by the next change. Returns the exit
    status of the last process.
    """
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    while True:
        stamps = read_stamps(folder)
        process = subprocess.Popen(command)  # noqa: S603 (the caller's own command)
        while not signals and read_stamps(folder) == stamps:
            time.sleep(POLL_SECS)
        process.terminate()
        status = process.wait()
        if signals:
            return status


def read_stamps(folder: Path) -> dict[Path, int]:
    """Return the modification time, in nanoseconds, of each `.py` file below a folder."""
    stamps = {}
    for path in folder.rglob("*.py"):
        with suppress(FileNotFoundError):
            stamps[path] = path.stat().st_mtime_ns
    return stamps


if __name__ == "__main__":
    sys.exit(run([sys.executable, "-m", "penstock", *sys.argv[1:]], Path(penstock.__file__).parent))
