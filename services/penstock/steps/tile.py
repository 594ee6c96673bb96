"""Tile: an image becomes the tiles of a grid."""

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import Tile
from penstock.steps.image import Pixels, StepOutput
from penstock.steps.transform import shifting


def tile(image: Pixels, params: Tile) -> list[StepOutput]:
    """Return the tiles as views, in reading order.

    Raises:
        ImageError: `parameter_not_applicable` where there are more columns or rows than pixels.
    """
    height, width = image.shape[:2]
    try:
        columns, rows = params.spans(width, height)
    except ValueError as error:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"an image of {width}x{height} pixels cannot be cut into {params.columns}x{params.rows} tiles",
        ) from error
    return [
        StepOutput(image[top:bottom, left:right], shifting(-left, -top))
        for top, bottom in rows
        for left, right in columns
    ]
