"""Step functions by name."""

from collections.abc import Callable
from typing import Any

from penstock.common.registry import CustomStep, custom_steps
from penstock.steps.adjust import adjust
from penstock.steps.blur import blur
from penstock.steps.crop import crop
from penstock.steps.resize import resize
from penstock.steps.rotate import rotate
from penstock.steps.split import split
from penstock.steps.tile import tile


def step_functions() -> dict[str, Callable[..., Any]]:
    """Return functions `(pixels, params) → pixels | StepOutput | list of them` by step, all but `decode` and `encode`.

    Those of `takes_regions` get the image's regions as well.
    """
    return {
        "resize": resize,
        "crop": crop,
        "rotate": rotate,
        "tile": tile,
        "split": split,
        "adjust": adjust,
        "blur": blur,
        **custom_steps(),
    }


def takes_regions(function: Callable[..., Any]) -> bool:
    """Whether a step's function has the image's regions as its third argument."""
    return function is blur or (isinstance(function, CustomStep) and function.takes_regions)
