"""Image arrays, and OpenCV's errors about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy.typing as npt

from penstock.common.model.errors import ImageCode, ImageError

Image = npt.NDArray[Any]
"""`H×W×3 uint8` in BGR order; not always contiguous (the parts of a split are views)."""


@contextmanager
def translate_opencv_errors(image: Image, action: str) -> Iterator[None]:
    """Raise `parameter_not_applicable` where OpenCV refuses an image; `action` is a participle for the message."""
    try:
        yield
    except cv2.error as error:
        height, width = image.shape[:2]
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"an image of {width}x{height} pixels cannot be {action}: OpenCV says {error.err}",
        ) from error
