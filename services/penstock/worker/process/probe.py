"""Probe: tells whether a worker is alive by the age of the files that its processes write, or ready by their text.

The kubelet runs it as a command, every second while a pod starts and then every few seconds, on the worker's own CPU.
So this module imports nothing: a probe costs 20 ms of CPU, where the command line with its settings takes 250 ms.
"""

import os
import time
from collections.abc import Mapping, Sequence

FRESH_SECS = 60.0
"""An older file is stale. This is longer than the broker's client needs to find that the broker is unreachable."""
AWAY = "away"
"""The end of a file's text while the broker does not answer."""
_ALIVE, _READY = ("worker", "--alive"), ("worker", "--ready")


def name_files(file: str, processes: int) -> list[str]:
    """Return the file of each process: the one in the settings, or that name with a number."""
    return [file] if processes == 1 else [f"{file}-{index}" for index in range(processes)]


def is_fresh(file: str | os.PathLike[str]) -> bool:
    """Return whether the file was written recently."""
    try:
        return time.time() - os.stat(file).st_mtime < FRESH_SECS
    except OSError:
        return False


def is_ready(file: str | os.PathLike[str]) -> bool:
    """Return whether the file was written recently, by a worker that reaches its broker."""
    try:
        with open(file, encoding="utf-8") as opened:
            return is_fresh(file) and not opened.read().endswith(AWAY)
    except OSError:
        return False


def answer_probe(arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Return the exit status of `penstock worker --alive` and `--ready`; None for anything else.

    The environment is read here and not by the settings objects, because those take ten times as long to import.
    """
    file = environment.get("PENSTOCK_LIVENESS_FILE")
    processes = environment.get("PENSTOCK_CONCURRENCY", "1")
    if tuple(arguments) not in (_ALIVE, _READY) or not file or not processes.isdecimal() or int(processes) < 1:
        return None
    check = is_ready if tuple(arguments) == _READY else is_fresh
    return 0 if all(map(check, name_files(file, int(processes)))) else 1
