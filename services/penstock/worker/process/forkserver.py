"""Where worker processes come from: one process that has the steps loaded, and no threads, forks them.

A worker that died is replaced in milliseconds, and the libraries are read, and lie in memory, once.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker

CONTEXT = multiprocessing.get_context("forkserver")


def start_forker(*modules: str) -> None:
    """Begin to load the steps and `modules` in the background; workers started later do not wait for it."""
    CONTEXT.set_forkserver_preload(["penstock.cli.main", "penstock.worker.process.preload", *modules])
    # It and the workers inherit the mask, so Ctrl-C cannot hit one before it has said that it ignores it. The tracker
    # comes first, because its start ends with a mask that lets SIGINT through.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
