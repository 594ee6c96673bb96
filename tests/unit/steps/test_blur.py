from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Blur
from penstock.steps.blur import blur
from penstock.steps.image import translate_opencv_errors

OPENCV: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gaussian": lambda image: cv2.GaussianBlur(image, (5, 5), 0),
    "updownsampling": lambda image: cv2.pyrUp(cv2.pyrDown(image), dstsize=(image.shape[1], image.shape[0])),
    "bilateral": lambda image: cv2.bilateralFilter(image, 9, 75, 75),
    "median": lambda image: cv2.medianBlur(image, 5),
}


@pytest.mark.parametrize("method", OPENCV)
def test_blur_returns_the_pixels_of_opencv(image: np.ndarray, method: str) -> None:
    result = blur(image, Blur(method=method))  # type: ignore[arg-type]
    assert result.shape == image.shape
    assert np.array_equal(result, OPENCV[method](image))


@pytest.mark.parametrize("method", OPENCV)
def test_blurring_a_view_equals_blurring_a_copy(photos: list[np.ndarray], method: str) -> None:
    quadrant = photos[0][:128, 128:384]
    assert np.array_equal(blur(quadrant, Blur(method=method)), OPENCV[method](quadrant.copy()))  # type: ignore[arg-type]


def test_a_size_that_opencv_refuses_is_a_parameter_error_of_the_image(drawing: np.ndarray) -> None:
    with (
        pytest.raises(ImageError, match="96x72 pixels cannot be turned") as refused,
        translate_opencv_errors(drawing, "turned"),
    ):
        cv2.resize(drawing, (0, 0))
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE
