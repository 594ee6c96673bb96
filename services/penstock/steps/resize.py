"""Resize: to a given size, each pixel the mean of the area it covers."""

import cv2

from penstock.common.model.operations import Resize
from penstock.steps.image import Pixels, StepOutput, translate_opencv_errors
from penstock.steps.transform import scaling


def resize(image: Pixels, params: Resize) -> StepOutput:
    """Return the image at `params.width` × `params.height` pixels, computed by `cv2.resize` with `INTER_AREA`.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    with translate_opencv_errors(image, f"resized to {params.width}x{params.height}"):
        made = cv2.resize(image, (params.width, params.height), interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    return StepOutput(made, scaling(params.width / width, params.height / height))
