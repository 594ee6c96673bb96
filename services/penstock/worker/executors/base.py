"""StepExecutor: the interface of what runs steps for a worker."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.messages import Result
from penstock.common.model.parameters import Extent
from penstock.common.model.plan import Planned
from penstock.common.model.regions import MAX_REGION_BYTES, MAX_REGIONS, Place, Region
from penstock.common.settings import Limits
from penstock.common.sidecars import write_regions
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Image, Shape

log = logging.getLogger(__name__)

Part = Any
"""One part of an image: the bytes of its file before `decode`, and then whatever the executor works with: an `Image`,
or a reference to a file."""


@dataclass(frozen=True)
class File:
    """An encoded result. `media_type` and `extension` are those of its format; `place` is what its metadata say.

    `name` is its own, if a group step made it as it is; its size in pixels is then 0.
    """

    data: bytes
    width: int
    height: int
    media_type: str
    extension: str
    regions: tuple[Region, ...] = ()
    warnings: tuple[str, ...] = ()
    place: Place | None = None
    name: str = ""

    def as_result(self, key: str, name: str) -> Result:
        """Return it as a result of an image, under a key of the store."""
        return Result(
            key=key,
            name=name,
            size=len(self.data),
            media_type=self.media_type,
            width=self.width,
            height=self.height,
            sha256=hashlib.sha256(self.data).hexdigest(),
            regions=self.regions,
            warnings=self.warnings,
            place=self.place,
        )


class StepExecutor(Protocol):
    """Runs the operations of a plan, from `decode` to `encode`, on one image at a time."""

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        """Run an operation other than `encode` on every part; the parts it makes follow in order.

        Raises:
            ImageError: the image failed.
            UnavailableError: what runs the operation cannot be started for now.
        """

    def perform_on_group(self, operation: Planned, images: Iterable[GroupImage]) -> list[Part]:
        """Run a group step on a group's images; return what it made: parts to be encoded, or `File`s as they are.

        Raises as `perform`, and whatever taking an image raises.
        """

    def encode(self, operation: Planned, parts: Sequence[Part]) -> Iterator[File]:
        """Yield a file for each part, in order; each is made when it is asked for. Raises as `perform`."""

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


MAX_METADATA_BYTES = 256 * 1024 * 1024
"""Most bytes of metadata in all results of an image, each of which has those of its file."""


def check_made(step: str, images: Sequence[Image], limits: Limits) -> None:
    """Raise ImageError if the parts that a step made are too many or too large, or have too much besides pixels."""
    check_shapes(step, [image.shape for image in images], limits)
    _check_regions(step, images)
    _check_metadata(step, images)


def check_shapes(step: str, shapes: Sequence[Shape], limits: Limits) -> None:
    """Raise ImageError if a step made too many parts or pixels, too long sides, or none."""
    if any(not (shape.width and shape.height) for shape in shapes):
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, f"{step} made an image without pixels")
    check_extent(step, Extent(len(shapes), sum(shape.counted_pixels for shape in shapes)), limits)
    for shape in shapes:
        if max(shape.width, shape.height) > limits.max_side:
            made = f"{step} made {shape.width}x{shape.height} pixels"
            raise ImageError(
                ImageCode.TOO_MANY_PIXELS,
                f"{made}; accepted are sides of up to {limits.max_side} (PENSTOCK_MAX_SIDE)",
            )


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


def _check_metadata(step: str, images: Sequence[Image]) -> None:
    size_bytes = sum(image.metadata.size_bytes for image in images)
    if size_bytes > MAX_METADATA_BYTES:
        metadata = images[0].metadata
        option = "profile: srgb or drop" if len(metadata.icc) > metadata.size_bytes / 2 else "metadata: geo or none"
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"{step} made {len(images)} parts, whose results would have {size_bytes} bytes of metadata; accepted are"
            f" up to {MAX_METADATA_BYTES} ({option} leaves out most of them)",
        )


def _check_regions(step: str, images: Sequence[Image]) -> None:
    """Raise ImageError if there are more regions than fit into messages."""
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
