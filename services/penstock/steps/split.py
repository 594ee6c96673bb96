"""Split: an image becomes its four quadrants."""

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Split
from penstock.steps.image import Pixels, StepOutput
from penstock.steps.transform import shifting


def split(image: Pixels, params: Split) -> list[StepOutput]:
    """Return left-top, right-top, left-bottom and right-bottom as views, cut at ⌊W/2⌋ and ⌊H/2⌋.

    Raises:
        ImageError: `parameter_not_applicable` where a side has only 1 pixel.
    """
    if not params.enabled:
        return [StepOutput(image)]
    height, width = image.shape[:2]
    if min(height, width) < 2:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"an image of {width}x{height} pixels cannot be split; both sides must be 2 or more",
        )
    x, y = width // 2, height // 2
    return [
        StepOutput(image[:y, :x], shifting(0, 0)),
        StepOutput(image[:y, x:], shifting(-x, 0)),
        StepOutput(image[y:, :x], shifting(0, -y)),
        StepOutput(image[y:, x:], shifting(-x, -y)),
    ]
