"""StepExecutor: the interface of what runs steps for a worker."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.parameters import Extent
from penstock.common.model.plan import Planned
from penstock.common.model.regions import MAX_REGION_BYTES, MAX_REGIONS, Region
from penstock.common.settings import Limits
from penstock.common.sidecars import write_regions
from penstock.steps.image import Image

log = logging.getLogger(__name__)

Part = Any
"""One part of an image: the bytes of its file before `decode`, a `File` after `encode`, and in between whatever the
executor works with: an `Image`, or a reference to a file."""


@dataclass(frozen=True)
class File:
    """An encoded result. `media_type` and `extension` are those of its format."""

    data: bytes
    width: int
    height: int
    media_type: str
    extension: str
    regions: tuple[Region, ...] = ()
    warnings: tuple[str, ...] = ()


class StepExecutor(Protocol):
    """Runs the operations of a plan, from `decode` to `encode`, on one image at a time."""

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        """Run an operation on every part; the parts it makes follow in order.

        Raises:
            ImageError: the image failed.
            UnavailableError: what runs the operation cannot be started for now.
        """

    def time_limit_secs(self, step: str) -> float | None:
        """Seconds after which the executor itself has ended a step; None if it cannot."""

    def images(self, parts: Sequence[Part]) -> list[Image]:
        """Return parts as images, to be kept for a retry or the next step; none if that is not supported."""

    def reset(self) -> None:
        """Forget the current image."""

    def kill(self) -> None:
        """End at once what was started, because this process ends. May be called from any thread."""

    def close(self) -> None:
        """Stop what was started and remove what was written."""


def check_parts(step: str, pixels: Sequence[int], limits: Limits) -> None:
    """Raise ImageError if a step made too many parts or pixels, or none, by the pixels of each part as counted."""
    if 0 in pixels:
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, f"{step} made an image without pixels")
    check_extent(step, Extent(len(pixels), sum(pixels)), limits)


def check_extent(step: str, extent: Extent, limits: Limits) -> None:
    """Raise ImageError if that is too many parts or pixels for one image, or no part."""
    if not 1 <= extent.parts <= limits.max_parts:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"{step} made {extent.parts} parts; accepted are 1 to {limits.max_parts} (PENSTOCK_MAX_PARTS)",
        )
    if extent.pixels > limits.max_pixels:
        message = f"{step} made {extent.pixels} pixels; {limits.accepted('max_pixels')}"
        raise ImageError(ImageCode.TOO_MANY_PIXELS, message)


def check_regions(step: str, images: Sequence[Image]) -> None:
    """Raise ImageError if the parts that a step made have more regions than fit into messages."""
    if not any(image.regions for image in images):
        return
    most = max(len(image.regions) for image in images)
    if most > MAX_REGIONS:
        message = f"{step} made a part with {most} regions; accepted are up to {MAX_REGIONS}"
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, message)
    size_bytes = sum(len(write_regions(image.regions)) for image in images)
    if size_bytes > MAX_REGION_BYTES:
        message = f"{step} made {size_bytes} bytes of regions; accepted are up to {MAX_REGION_BYTES}"
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, message)


def as_image_error(error: Exception) -> ImageError:
    """Return the error of an image for any exception of a step; unexpected ones are logged."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, MemoryError):
        return ImageError(ImageCode.INTERNAL, "out of memory")
    log.error("unexpected error", exc_info=error)
    return ImageError(ImageCode.INTERNAL, f"failed unexpectedly: {type(error).__name__}")
