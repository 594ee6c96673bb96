"""Fork server: the process that worker processes are forked from. It has the steps loaded, and no threads.

A worker that died is replaced in milliseconds, and the libraries are loaded, and kept in memory, once.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker

CONTEXT = multiprocessing.get_context("forkserver")


def start_forkserver(*modules: str) -> None:
    """Start to load the steps and `modules` in the background; does nothing if the fork server runs."""
    CONTEXT.set_forkserver_preload(["penstock.cli.main", "penstock.worker.process.preload", *modules])
    # The fork server and the workers inherit the signal mask, so Ctrl-C cannot end one before it ignores SIGINT. The
    # tracker comes first, because starting it ends with a mask that lets SIGINT through.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
