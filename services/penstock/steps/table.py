"""Which function performs which step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.common.registry import custom_steps
from penstock.steps.blur import blur
from penstock.steps.resize import resize
from penstock.steps.split import split


def step_functions() -> dict[str, Callable[..., Any]]:
    """Return every step's function `(image, params) → image | list of images` by name, those of packages included.

    `decode` and `encode` are not among them: they begin and end a plan, and have files on one side.
    """
    return {"resize": resize, "split": split, "blur": blur, **custom_steps()}
