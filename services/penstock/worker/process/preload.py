"""Imports what every worker needs, and configures what must be configured before.

Worker processes are forked from one that has imported this module, so it starts no threads and opens nothing.
"""

import gc
import os

from penstock.steps.allocator import keep_freed_memory, limit_threads

keep_freed_memory()  # before OpenCV and NumPy are loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy would start threads that nothing here uses

import penstock.worker.executors.external  # noqa: E402
import penstock.worker.worker  # noqa: E402, F401

limit_threads()
gc.freeze()  # the collector need not look through the libraries again, nor copy their pages in every worker
