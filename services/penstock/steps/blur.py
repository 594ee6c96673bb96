"""Blur: four methods, each one OpenCV call (two for updownsampling)."""

from __future__ import annotations

from collections.abc import Callable

import cv2

from penstock.common.model.operations import Blur
from penstock.steps.image import Image, translate_opencv_errors


def blur(image: Image, params: Blur) -> Image:
    """Return the image blurred by `params.method`, of the same size.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    with translate_opencv_errors(image, f"blurred by {params.method}"):
        return _METHODS[params.method](image)


def _gaussian(image: Image) -> Image:
    return cv2.GaussianBlur(image, (5, 5), 0)


def _updownsampling(image: Image) -> Image:
    height, width = image.shape[:2]
    return cv2.pyrUp(cv2.pyrDown(image), dstsize=(width, height))


def _bilateral(image: Image) -> Image:
    return cv2.bilateralFilter(image, 9, 75, 75)


def _median(image: Image) -> Image:
    return cv2.medianBlur(image, 5)


_METHODS: dict[str, Callable[[Image], Image]] = {
    "gaussian": _gaussian,
    "updownsampling": _updownsampling,
    "bilateral": _bilateral,
    "median": _median,
}
