"""Resize: to a given size, each pixel the mean of the area that it covers."""

from __future__ import annotations

import cv2

from penstock.common.model.operations import Resize
from penstock.steps.image import Image, refused_by_opencv


def resize(image: Image, params: Resize) -> Image:
    """Return the picture at `params.width` × `params.height` pixels, as `cv2.resize` gives with `INTER_AREA`.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    with refused_by_opencv(image, f"resized to {params.width}x{params.height}"):
        return cv2.resize(image, (params.width, params.height), interpolation=cv2.INTER_AREA)
