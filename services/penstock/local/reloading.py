"""Reloader: `python -m penstock.local.reloading worker` restarts a Penstock command whenever its code changes.

For `skaffold dev`, which copies changed files into running containers. Never use it in production.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import penstock

POLL_SECS = 0.5


class Reloader:
    """Runs `command` until SIGTERM or SIGINT, and restarts it after every change to a `.py` file below `folder`.

    A command that has ended, for example because of a syntax error, is restarted by the next change.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._stopping = False

    def run(self) -> int:
        """Run until a signal; return the exit status of the last process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while True:
            stamps = read_stamps(self._folder)
            process = subprocess.Popen(self._command)  # noqa: S603 (the caller's own command)
            while not self._stopping and read_stamps(self._folder) == stamps:
                time.sleep(POLL_SECS)
            process.terminate()
            status = process.wait()
            if self._stopping:
                return status

    def _stop(self, *_: object) -> None:
        self._stopping = True


def read_stamps(folder: Path) -> dict[Path, int]:
    """Return the modification time, in nanoseconds, of each `.py` file below a folder."""
    stamps = {}
    for path in folder.rglob("*.py"):
        with suppress(FileNotFoundError):
            stamps[path] = path.stat().st_mtime_ns
    return stamps


if __name__ == "__main__":
    sys.exit(Reloader([sys.executable, "-m", "penstock", *sys.argv[1:]], Path(penstock.__file__).parent).run())
