"""Blur: an image, or only its regions, by OpenCV's filters, a mosaic or a colour."""

from collections.abc import Callable, Sequence
from math import ceil

import cv2

from penstock.common.model.effects import Blur
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.regions import Region
from penstock.steps.colour.alpha import filter_colours, weight_by_alpha
from penstock.steps.filters import base as filters
from penstock.steps.hide import fill, hide, pixelate
from penstock.steps.image import Image, Pixels, translate_opencv_errors


def blur(image: Pixels, params: Blur, regions: Sequence[Region] = ()) -> Pixels:
    """Return the image blurred by `params.method`, or its regions hidden by it, of the same size.

    Colours are weighted by alpha, if there is any; median and bilateral change visible colours alone.

    Raises:
        ImageError: `parameter_not_applicable` where OpenCV refuses the size.
    """
    with translate_opencv_errors(image, f"blurred by {params.method}"):
        if params.where == "regions":
            return hide(image, _chosen(regions, params), params)
        return _METHODS[params.method](image, params)


def check_regions(image: Image, params: Blur) -> Image:
    """Return an image whose regions are to be hidden, with a warning if it has some, and none of the wanted labels.

    Raises:
        ImageError: `parameter_not_applicable` if some of its regions were dropped, and would stay as they are.
    """
    if params.where != "regions":
        return image
    if "regions_dropped" in image.warnings:
        message = "regions were dropped by a step that did not say where pixels went; blur them before that step"
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, message)
    return image.warn("no_region_hidden") if image.regions and not _chosen(image.regions, params) else image


def _chosen(regions: Sequence[Region], params: Blur) -> list[Region]:
    return [each for each in regions if not params.labels or each.label in params.labels]


def _gaussian(image: Pixels, params: Blur) -> Pixels:
    side = params.kernel or (0 if params.sigma else 5)
    return weight_by_alpha(image, lambda given: filters.chosen.gaussian(given, side, params.sigma or 0))


def _updownsampling(image: Pixels, _: Blur) -> Pixels:
    size = image.shape[1], image.shape[0]
    return weight_by_alpha(image, lambda given: cv2.pyrUp(cv2.pyrDown(given), dstsize=size))


def _bilateral(image: Pixels, params: Blur) -> Pixels:
    def bilateral(given: Pixels) -> Pixels:
        return filters.chosen.bilateral(given, params.diameter, portable=params.portable)

    return filter_colours(image, bilateral, params.diameter)


def _median(image: Pixels, params: Blur) -> Pixels:
    return filter_colours(image, lambda given: filters.chosen.median(given, params.aperture), params.aperture)


def _pixelate(image: Pixels, params: Blur) -> Pixels:
    height, width = image.shape[:2]
    return pixelate(image, ceil(width / params.block), ceil(height / params.block))


_METHODS: dict[str, Callable[[Pixels, Blur], Pixels]] = {
    "gaussian": _gaussian,
    "updownsampling": _updownsampling,
    "bilateral": _bilateral,
    "median": _median,
    "pixelate": _pixelate,
    "fill": lambda image, params: fill(image, params.color),
}
