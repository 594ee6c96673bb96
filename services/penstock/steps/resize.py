"""Resize: to a given size, by default with each pixel the mean of the area it covers."""

import cv2

from penstock.common.model.parameters import Box
from penstock.common.model.resize import Interpolation, Layout, Resize
from penstock.steps.area import resize_by_area
from penstock.steps.colour.alpha import weight_by_alpha
from penstock.steps.image import Pixels, StepOutput, opaque_colour, translate_opencv_errors
from penstock.steps.transform import scaling, shifting


def resize(image: Pixels, params: Resize, full_size: tuple[int, int] | None = None) -> StepOutput:
    """Return the image at the size that `params` gives it, computed by `cv2.resize`.

    Colours are weighted by alpha, if there is any, so that what lies under transparent pixels does not show.
    `full_size` is the width and height from which `params` count, of an image that was reduced as it was decoded.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    height, width = image.shape[:2]
    full_size = full_size or (width, height)
    layout = params.lay_out(*full_size)
    x, y, box_width, box_height = _reduce_box(layout.box, width / full_size[0], height / full_size[1])
    box = image[y : y + box_height, x : x + box_width]
    with translate_opencv_errors(image, "resized to {}x{}".format(*layout.size)):
        made = _scale(box, layout.size, params.interpolation)
    if layout.canvas != layout.size:
        made = _add_borders(made, layout, params.background)
    scale = scaling(layout.size[0] / box_width, layout.size[1] / box_height)
    return StepOutput(made, shifting(-x, -y).then(scale).then(shifting(*layout.at)))


def _reduce_box(box: Box, across: float, down: float) -> Box:
    """Return a box in the pixels of a reduced image, rounded."""
    x, y, width, height = box
    left, top, right, bottom = (
        round(x * across),
        round(y * down),
        round((x + width) * across),
        round((y + height) * down),
    )
    return left, top, right - left, bottom - top


def _scale(pixels: Pixels, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    method = _METHODS[interpolation]
    if interpolation == "nearest":
        return cv2.resize(pixels, size, interpolation=method)
    if interpolation == "area" and pixels.shape[2] == 3:
        return resize_by_area(pixels, size)
    return weight_by_alpha(pixels, lambda mixed: cv2.resize(mixed, size, interpolation=method))


def _add_borders(pixels: Pixels, layout: Layout, background: str) -> Pixels:
    """Return pixels on a canvas of an opaque colour."""
    (width, height), (x, y) = layout.canvas, layout.at
    below, right = height - y - pixels.shape[0], width - x - pixels.shape[1]
    colour = opaque_colour(background, pixels.dtype)
    return cv2.copyMakeBorder(pixels, y, below, x, right, cv2.BORDER_CONSTANT, value=colour)


_METHODS: dict[Interpolation, int] = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
    "nearest": cv2.INTER_NEAREST_EXACT,
}
