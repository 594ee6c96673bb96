"""Step functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.common.registry import custom_steps
from penstock.steps.blur import blur
from penstock.steps.resize import resize
from penstock.steps.split import split


def step_functions() -> dict[str, Callable[..., Any]]:
    """Return each step's function `(image, params) → image | list of images` by name, including those of plugins.

    `decode` and `encode` are not among them: one takes a file, the other returns one.
    """
    return {"resize": resize, "split": split, "blur": blur, **custom_steps()}
