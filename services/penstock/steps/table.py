"""Step functions by name."""

from collections.abc import Callable
from typing import Any

from penstock.common.model.effects import Blur
from penstock.common.model.parameters import Parameters
from penstock.common.registry import CustomStep, custom_steps
from penstock.steps.adjust import adjust
from penstock.steps.blur import blur, check_regions
from penstock.steps.crop import crop
from penstock.steps.groups.contact_sheet import contact_sheet
from penstock.steps.image import Image
from penstock.steps.resize import resize
from penstock.steps.rotate import rotate
from penstock.steps.split import split
from penstock.steps.tile import tile


def step_functions() -> dict[str, Callable[..., Any]]:
    """Return functions `(pixels, params) → pixels | StepOutput | list of them` by step, all but `decode` and `encode`.

    They get the `further_arguments` as well. Group steps get `GroupImage`s instead of pixels.
    """
    return {
        "resize": resize,
        "crop": crop,
        "rotate": rotate,
        "tile": tile,
        "split": split,
        "adjust": adjust,
        "blur": blur,
        "contact-sheet": contact_sheet,
        **custom_steps(),
    }


def further_arguments(function: Callable[..., Any], image: Image) -> tuple[object, ...]:
    """Return what a step's function gets of an image besides its pixels and the parameters."""
    if function is resize:
        return (image.full_size,)
    takes_regions = function is blur or (isinstance(function, CustomStep) and function.takes_regions)
    return (image.regions,) if takes_regions else ()


def check_input(image: Image, params: Parameters) -> Image:
    """Return a step's input, with a warning where the step will not do all that is asked for.

    Raises:
        ImageError: the step cannot be run on it.
    """
    return check_regions(image, params) if isinstance(params, Blur) else image
