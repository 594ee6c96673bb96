"""Crop: a box is cut out of an image."""

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import Crop
from penstock.steps.image import Pixels, StepOutput
from penstock.steps.transform import shifting


def crop(image: Pixels, params: Crop) -> StepOutput:
    """Return the box as a view.

    Raises:
        ImageError: `parameter_not_applicable` where the box is empty, outside of the image, or partly outside of it
            unless `params.outside` is `clip`.
    """
    height, width = image.shape[:2]
    x, y, box_width, box_height = params.box(width, height)
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + box_width, width), min(y + box_height, height)
    is_inside = (left, top, right, bottom) == (x, y, x + box_width, y + box_height)
    if left >= right or top >= bottom or not (is_inside or params.outside == "clip"):
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"an image of {width}x{height} pixels cannot be cropped to {box_width}x{box_height}{x:+d}{y:+d}; accepted"
            f" are boxes {'inside of it' if params.outside == 'refuse' else 'that have a pixel of it'}",
        )
    return StepOutput(image[top:bottom, left:right], shifting(-left, -top))
