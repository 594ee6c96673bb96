"""Blur: four methods, each one OpenCV call (two for updownsampling)."""

from collections.abc import Callable

import cv2

from penstock.common.model.operations import Blur
from penstock.steps.image import Pixels, translate_opencv_errors


def blur(image: Pixels, params: Blur) -> Pixels:
    """Return the image blurred by `params.method`, of the same size.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    with translate_opencv_errors(image, f"blurred by {params.method}"):
        return _METHODS[params.method](image)


_METHODS: dict[str, Callable[[Pixels], Pixels]] = {
    "gaussian": lambda image: cv2.GaussianBlur(image, (5, 5), 0),
    "updownsampling": lambda image: cv2.pyrUp(cv2.pyrDown(image), dstsize=(image.shape[1], image.shape[0])),
    "bilateral": lambda image: cv2.bilateralFilter(image, 9, 75, 75),
    "median": lambda image: cv2.medianBlur(image, 5),
}
