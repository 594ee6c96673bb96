"""Step functions by name."""

from collections.abc import Callable
from typing import Any

from penstock.common.registry import custom_steps
from penstock.steps.blur import blur
from penstock.steps.resize import resize
from penstock.steps.split import split


def step_functions() -> dict[str, Callable[..., Any]]:
    """Return functions `(image, params) → image | list of images` by step; `decode` and `encode` are not among them."""
    return {"resize": resize, "split": split, "blur": blur, **custom_steps()}
