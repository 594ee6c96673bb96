"""What a probe asks of a worker: is there a file for each of its processes, and was it written lately?

Kubelet asks with a command, every second while a pod starts and then every few, on the CPU that the worker is given.
So this module loads nothing: the question costs 20 ms of CPU, where the command line with its settings takes 250.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

FRESH_SECS = 60.0
"""A file that is older is stale: longer than the broker's client takes to say that the broker is away."""
_PROBE = ("worker", "--alive")


def name_files(file: str, processes: int) -> list[str]:
    """Return the file of each process: the one that is set, or that name with a number."""
    return [file] if processes == 1 else [f"{file}-{index}" for index in range(processes)]


def is_fresh(file: str | os.PathLike[str]) -> bool:
    """Whether a worker has written the file lately."""
    try:
        return time.time() - os.stat(file).st_mtime < FRESH_SECS
    except OSError:
        return False


def answer_probe(arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Return the exit status of `penstock worker --alive`; None for all else, which the command line answers.

    The environment is read here and not by the settings' objects, because those take ten times as long to load.
    """
    file = environment.get("PENSTOCK_LIVENESS_FILE")
    processes = environment.get("PENSTOCK_CONCURRENCY", "1")
    if tuple(arguments) != _PROBE or not file or not processes.isdecimal() or int(processes) < 1:
        return None
    return 0 if all(map(is_fresh, name_files(file, int(processes)))) else 1
