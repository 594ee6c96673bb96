"""`python -m penstock.local.reloading worker`: a command of Penstock that is started anew whenever its code changes.

For `skaffold dev`, which puts changed files into running containers; never for an installation that others use.
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
    """Runs `command` until SIGTERM or SIGINT, and starts it anew after every change to a `.py` file below `folder`.

    Where it ends by itself, as code does that is half written, the next change starts it again.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._told = False

    def run(self) -> int:
        """Return the exit status of the last process, once it was told to leave."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)
        while True:
            stamps = read_stamps(self._folder)
            process = subprocess.Popen(self._command)  # noqa: S603 (whoever starts this names it)
            while not self._told and read_stamps(self._folder) == stamps:
                time.sleep(POLL_SECS)
            process.terminate()
            status = process.wait()
            if self._told:
                return status

    def _hear(self, *_: object) -> None:
        self._told = True


def read_stamps(folder: Path) -> dict[Path, int]:
    """Return when each `.py` file below a folder was changed, in nanoseconds."""
    stamps = {}
    for path in folder.rglob("*.py"):
        with suppress(FileNotFoundError):
            stamps[path] = path.stat().st_mtime_ns
    return stamps


if __name__ == "__main__":
    sys.exit(Reloader([sys.executable, "-m", "penstock", *sys.argv[1:]], Path(penstock.__file__).parent).run())
