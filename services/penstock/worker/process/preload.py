"""Loads what every worker needs, with the settings that must come before it.

Worker processes are forked from one that has imported this module, so it must start no threads and open nothing.
"""

from __future__ import annotations

import gc
import os

from penstock.steps.allocator import keep_freed_memory, limit_threads

keep_freed_memory()  # before OpenCV and NumPy are loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy would start threads that nobody here uses

import penstock.worker.executors.external  # noqa: E402
import penstock.worker.worker  # noqa: E402, F401

limit_threads()
gc.freeze()  # libraries stay: the collector need not look through them again, nor copy their pages in every worker
