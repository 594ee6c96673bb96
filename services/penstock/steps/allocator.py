"""Allocator and thread settings of a worker process, made once before its first image.

By default glibc returns the memory of every freed image to the kernel, which hands it out again page by page, each
cleared. `docs/decisions/` has the measurements.
"""

import ctypes

MiB = 1024 * 1024

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_SETTINGS = (
    (_M_MMAP_THRESHOLD, 128 * MiB),  # allocate images on the heap instead of mapping each
    (_M_TRIM_THRESHOLD, 256 * MiB),  # and keep the memory of freed ones
    (_M_TOP_PAD, 16 * MiB),
    (_M_ARENA_MAX, 1),  # one heap for all threads: a thread's own holds 64 MiB, too little for large images
)


def keep_freed_memory() -> bool:
    """Let the C allocator keep up to 256 MiB of freed memory; return whether it can (glibc only).

    Call it in a dedicated process, before it starts threads or imports OpenCV and NumPy.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    accepted = [mallopt(option, value) == 1 for option, value in _SETTINGS]
    return all(accepted)


def limit_threads() -> None:
    """Restrict OpenCV to the calling thread (workers run in parallel, one image each), and silence its warnings."""
    import cv2

    cv2.setNumThreads(1)
    if hasattr(cv2, "ocl"):
        cv2.ocl.setUseOpenCL(False)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
