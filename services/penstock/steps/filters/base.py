"""Filters: what `blur` computes pixels with; OpenCV's, unless a process has chosen others."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

import cv2

from penstock.steps.image import Pixels

SIGMA = 75
"""Both standard deviations of the bilateral filter: of colours, and in pixels."""


class Filters(Protocol):
    """Filters of `H×W×3` or `H×W×4` pixels. All implementations return the same bytes."""

    def gaussian(self, pixels: Pixels, side: int, sigma: float) -> Pixels:
        """Return `uint8`, `uint16` or `float32` blurred by a kernel of `side` pixels, or of `sigma` if one is 0."""

    def bilateral(self, pixels: Pixels, diameter: int, *, portable: bool) -> Pixels:
        """Return `H×W×3 uint8` smoothed, edges kept (Tomasi and Manduchi, doi:10.1109/ICCV.1998.710815).

        With `portable`, by OpenCV's own code; otherwise by Intel's library, where OpenCV has it.
        """

    def median(self, pixels: Pixels, aperture: int) -> Pixels:
        """Return each channel's median in a square; with `uint16`, `aperture` is 3 or 5."""


class OpenCVFilters:
    """`Filters` on the processor."""

    def gaussian(self, pixels: Pixels, side: int, sigma: float) -> Pixels:
        return cv2.GaussianBlur(pixels, (side, side), sigma)

    def bilateral(self, pixels: Pixels, diameter: int, *, portable: bool) -> Pixels:
        with without_ipp() if portable else nullcontext():
            return cv2.bilateralFilter(pixels, diameter, SIGMA, SIGMA)

    def median(self, pixels: Pixels, aperture: int) -> Pixels:
        return cv2.medianBlur(pixels, aperture)


chosen: Filters = OpenCVFilters()
"""Those of this process; set once, before its first image."""


@contextmanager
def without_ipp() -> Iterator[None]:
    """Let OpenCV use its own code in this thread, instead of Intel's library, which adds in an order of its own."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
