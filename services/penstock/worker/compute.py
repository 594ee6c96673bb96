"""One operation on one image: all of its parts, checked against the limits on the way out."""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.common.errors import ImageCode, ImageError
from penstock.common.plan import Planned
from penstock.common.settings import Limits
from penstock.steps.table import step_functions
from penstock.worker.blobs import Picture


def perform(planned: Planned, parts: list[Picture], limits: Limits) -> list[Picture]:
    """Run an operation on every part of an image; the parts it makes follow in order.

    Raises:
        ImageError: the operation does not apply, made too much, or failed.
    """
    function = step_functions()[planned.step]
    made: list[Picture] = []
    try:
        for part in parts:
            result = function(_read_only(part), planned.params)
            made.extend(result if isinstance(result, (list, tuple)) else [result])
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ImageError(ImageCode.INTERNAL, f"{planned.step} raised {type(error).__name__}: {text}") from error
    _check(planned.step, made, limits)
    return made


def _read_only(part: Picture) -> Picture:
    """Return a view that a step can't write to: what it was given may be needed again, whatever the placement."""
    view = part.view()
    view.flags.writeable = False
    return view


def _check(step: str, parts: list[Any], limits: Limits) -> None:
    for part in parts:
        if not (isinstance(part, np.ndarray) and part.dtype == np.uint8 and part.ndim == 3 and part.shape[2] == 3):
            shown = f"{part.dtype} {part.shape}" if isinstance(part, np.ndarray) else type(part).__name__
            raise ImageError(ImageCode.INTERNAL, f"{step} returned {shown}; accepted is H×W×3 uint8")
        if not part.size:
            raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, f"{step} left a picture without pixels")
    if not 1 <= len(parts) <= limits.max_parts:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE, f"{step} made {len(parts)} parts; accepted are 1 to {limits.max_parts}"
        )
    pixels = sum(part.shape[0] * part.shape[1] for part in parts)
    if pixels > limits.max_pixels:
        raise ImageError(
            ImageCode.TOO_MANY_PIXELS, f"{step} made {pixels} pixels; accepted are up to {limits.max_pixels}"
        )
