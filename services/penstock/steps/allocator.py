"""What a worker process sets once, before its first picture: memory that stays, and one thread per process.

glibc gives freed pictures back to the kernel and gets their successors page by page, each cleared. See
`docs/decisions/` for what was measured.
"""

from __future__ import annotations

import ctypes

MiB = 1024 * 1024

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_SETTINGS = (
    (_M_MMAP_THRESHOLD, 128 * MiB),  # pictures come from the heap, not from the kernel, one by one
    (_M_TRIM_THRESHOLD, 256 * MiB),  # and their memory stays there
    (_M_TOP_PAD, 16 * MiB),
    (_M_ARENA_MAX, 1),  # also on threads: heaps of their own hold 64 MiB, and larger pictures would go past them
)


def keep_freed_memory() -> bool:
    """Let the C allocator keep up to 256 MiB of freed memory for the next picture; return whether it can (glibc only).

    To be called in a process of its own, before threads are started and OpenCV and NumPy are imported.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    accepted = [mallopt(option, value) == 1 for option, value in _SETTINGS]
    return all(accepted)


def limit_threads() -> None:
    """Let OpenCV compute on the calling thread alone (pictures are the parallelism) and keep its warnings to itself."""
    import cv2

    cv2.setNumThreads(1)
    if hasattr(cv2, "ocl"):
        cv2.ocl.setUseOpenCL(False)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
