"""InProcessExecutor: runs steps as functions of this process, on arrays."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from penstock.common.model.effects import Blur
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode, Encode, Resize
from penstock.common.model.parameters import Extent, Parameters
from penstock.common.model.plan import Planned
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode, fit
from penstock.steps.image import Image, Pixels, StepOutput
from penstock.steps.table import step_functions, takes_regions
from penstock.worker.executors.base import File, Part, check_extent, check_parts, check_regions


class InProcessExecutor:
    """A `StepExecutor`; the parts of an image are `Image`s."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        params = operation.params
        if isinstance(params, Decode):
            return [decode(data, self._limits, params) for data in parts]
        if isinstance(params, Encode):
            return [_encode(part, params) for part in parts]
        _check_before(operation, parts, self._limits)
        made: list[Image] = []
        try:
            for part in parts:
                function, arguments = _prepare(operation, part)
                made += _derive(operation.step, _warn_of_labels(operation.params, part), function(*arguments))
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            message = f"{operation.step} raised {type(error).__name__}: {text}"
            raise ImageError(ImageCode.INTERNAL, message) from error
        check_parts(operation.step, [image.counted_pixels for image in made], self._limits)
        check_regions(operation.step, made)
        return [*made]

    def time_limit_secs(self, step: str) -> float | None:  # noqa: ARG002 (native code cannot be interrupted)
        return None

    def images(self, parts: Sequence[Part]) -> list[Image]:
        return list(parts)

    def reset(self) -> None:
        """Nothing is kept of an image."""

    def close(self) -> None:
        """Nothing was started."""


def _encode(image: Image, params: Encode) -> File:
    if params.format == "keep":
        params = params.for_source(image.metadata.type)
        image = fit(image, params)
    data = encode(image, params)
    media_type, extension = params.media_type, params.format
    return File(data, image.width, image.height, media_type, extension, image.regions, image.warnings)


def _check_before(operation: Planned, parts: Sequence[Image], limits: Limits) -> None:
    """Raise ImageError where the parameters alone show that a step would make too much."""
    made = [(part.weight, operation.params.extent(*part.full_size)) for part in parts]
    known = [(weight, extent) for weight, extent in made if extent is not None]
    if known:
        pixels = sum(weight * extent.pixels for weight, extent in known)
        check_extent(operation.step, Extent(sum(extent.parts for _, extent in known), pixels), limits)


def _prepare(operation: Planned, image: Image) -> tuple[Callable[..., Any], tuple[object, ...]]:
    """Return a step's function, and its arguments for one part."""
    function = step_functions()[operation.step]
    _check_regions_are_known(operation.params, image)
    further: tuple[object, ...] = (image.regions,) if takes_regions(function) else ()
    if isinstance(operation.params, Resize):
        further = (image.full_size,)
    return function, (_read_only(image.pixels), operation.params, *further)


def _derive(step: str, image: Image, made: Any) -> Iterator[Image]:
    """Yield the images that a step made of one part, from what its function returned."""
    for output in made if isinstance(made, (list, tuple)) else [made]:
        _check_output(step, output, image.pixels)
        yield image.derive(output)


def _check_regions_are_known(params: Parameters, image: Image) -> None:
    """Raise ImageError if regions are to be blurred of which some were dropped, and would stay as they are."""
    if isinstance(params, Blur) and params.where == "regions" and "regions_dropped" in image.warnings:
        message = "regions were dropped by a step that did not say where pixels went; blur them before that step"
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, message)


def _warn_of_labels(params: Parameters, image: Image) -> Image:
    """Return the image with a warning if regions with some labels are to be hidden, and all it has are others."""
    if not (isinstance(params, Blur) and params.labels and image.regions):
        return image
    is_any_hidden = any(region.label in params.labels for region in image.regions)
    return image if is_any_hidden else image.warn("no_region_hidden")


def _read_only(pixels: Pixels) -> Pixels:
    """Return a view that a step cannot write to: its input may be needed again, in every placement."""
    view = pixels.view()
    view.flags.writeable = False
    return view


def _check_output(step: str, output: Any, given: Pixels) -> None:
    """Raise ImageError unless a step returned pixels; 16 bits or transparency only if its input has them."""
    made = output.pixels if isinstance(output, StepOutput) else output
    if not isinstance(made, np.ndarray):
        raise ImageError(ImageCode.INTERNAL, f"{step} returned {type(made).__name__}; accepted is H×W×3 uint8")
    if made.ndim != 3 or made.shape[2] not in (3, given.shape[2]) or made.dtype not in (np.uint8, given.dtype):
        shown = f"{made.dtype} {made.shape}"
        raise ImageError(ImageCode.INTERNAL, f"{step} returned {shown}; accepted is H×W×3 uint8")
