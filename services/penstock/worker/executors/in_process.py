"""One operation on one image: all of its parts, checked against the limits on the way out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.common.model.plan import Planned
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode
from penstock.steps.table import step_functions
from penstock.worker.executors.base import File, check_parts
from penstock.worker.executors.safetensors import Picture


class InProcessExecutor:
    """Performs operations in this process; an image's parts are arrays. A `Performer`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def patience_secs(self, step: str) -> float | None:  # noqa: ARG002 (native code is ended by nobody)
        return None

    def decode(self, data: bytes) -> list[Picture]:
        return [decode(data, self._limits)]

    def perform(self, planned: Planned, parts: list[Picture]) -> list[Picture]:
        return perform(planned, parts, self._limits)

    def encode(self, parts: Sequence[Picture], params: Encode) -> Iterator[File]:
        return (File(encode(part, params), part.shape[1], part.shape[0]) for part in parts)

    def pictures(self, parts: Sequence[Picture]) -> list[Picture]:
        return list(parts)

    def finish(self) -> None:
        """Nothing is left of an image."""

    def close(self) -> None:
        """Nothing was begun."""


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
    check_parts(step, [part.shape for part in parts], limits)
