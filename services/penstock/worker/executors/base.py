"""Who performs a plan's operations on an image: this process, or programs beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.common.model.plan import Planned
from penstock.common.settings import Limits
from penstock.worker.executors.safetensors import Picture

Part = Any
"""One picture of an image on its way: an array, or whatever else the performer that made it keeps in its place."""


@dataclass(frozen=True)
class File:
    """A result, encoded."""

    data: bytes
    width: int
    height: int


class StepExecutor(Protocol):
    """Takes one image from its file to its results. All calls raise ImageError where the image cannot go on.

    They may raise UnavailableError where what performs the operation cannot be started for now.
    """

    def patience_secs(self, step: str) -> float | None:
        """How long a step may take until the performer has ended it by itself; None: it cannot."""

    def decode(self, data: bytes) -> list[Part]:
        """Take an image's file."""

    def perform(self, planned: Planned, parts: list[Part]) -> list[Part]:
        """Run an operation on every part; the parts it makes follow in order."""

    def encode(self, parts: Sequence[Part], params: Encode) -> Iterable[File]:
        """Make every part a file."""

    def pictures(self, parts: Sequence[Part]) -> list[Picture]:
        """Return the parts as arrays, to be kept for a retry; none where that is not worth it."""

    def finish(self) -> None:
        """Forget the image at hand."""

    def close(self) -> None:
        """Leave nothing behind."""


def check_parts(step: str, shapes: Sequence[Sequence[int]], limits: Limits) -> None:
    """Check the parts that a step made, by their shapes, against the limits.

    Raises:
        ImageError: too many parts or pixels, or none.
    """
    if any(0 in shape for shape in shapes):
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, f"{step} left a picture without pixels")
    if not 1 <= len(shapes) <= limits.max_parts:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE, f"{step} made {len(shapes)} parts; accepted are 1 to {limits.max_parts}"
        )
    pixels = sum(shape[0] * shape[1] for shape in shapes)
    if pixels > limits.max_pixels:
        raise ImageError(
            ImageCode.TOO_MANY_PIXELS, f"{step} made {pixels} pixels; accepted are up to {limits.max_pixels}"
        )
