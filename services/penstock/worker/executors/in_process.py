"""InProcessExecutor: runs steps as functions of this process, on arrays."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError, PenstockError
from penstock.common.model.operations import Decode, Encode
from penstock.common.model.parameters import Extent
from penstock.common.model.plan import Planned
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode, fit
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Image, Pixels, StepOutput
from penstock.steps.metadata.place import read_place
from penstock.steps.table import check_input, further_arguments, step_functions
from penstock.worker.cancelled_jobs import JobCancelledError
from penstock.worker.executors.base import File, Part, check_extent, check_made
from penstock.worker.executors.group_results import collect_results
from penstock.worker.executors.needs import needed_bytes
from penstock.worker.group_input import GroupStoppedError
from penstock.worker.memory import WorkerMemory


class InProcessExecutor:
    """A `StepExecutor`; the parts of an image are `Image`s. Operations that `memory` has no room for are refused."""

    def __init__(self, limits: Limits, memory: WorkerMemory | None = None) -> None:
        self._limits = limits
        self._memory = memory

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        params = operation.params
        self._check_memory(operation, parts)
        if isinstance(params, Decode):
            return [decode(data, self._limits, params) for data in parts]
        _check_before(operation, parts, self._limits)
        made: list[Image] = []
        try:
            function = step_functions()[operation.step]
            for part in parts:
                image = check_input(part, operation.params)
                further = further_arguments(function, image)
                output = function(_read_only(image.pixels), operation.params, *further)
                made += _derive(operation.step, image, output)
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            raise _unexpected(operation.step, error) from error
        check_made(operation.step, made, self._limits)
        return [*made]

    def perform_on_group(self, operation: Planned, images: Iterable[GroupImage]) -> list[Part]:
        try:
            made = step_functions()[operation.step](iter(images), operation.params)
            return [*collect_results(operation.step, made, self._limits, self._memory)]
        except (PenstockError, MemoryError, JobCancelledError, GroupStoppedError):
            raise
        except Exception as error:
            raise _unexpected(operation.step, error) from error

    def encode(self, operation: Planned, parts: Sequence[Part]) -> Iterator[File]:
        assert isinstance(operation.params, Encode)
        self._check_memory(operation, parts)
        for part in parts:
            yield _encode(part, operation.params)

    def _check_memory(self, operation: Planned, parts: Sequence[Part]) -> None:
        if self._memory is not None:
            self._memory.check(operation.step, needed_bytes(operation.params, parts, self._limits))

    def time_limit_secs(self, step: str) -> float | None:  # noqa: ARG002 (native code cannot be interrupted)
        return None

    def images(self, parts: Sequence[Part]) -> list[Image]:
        return list(parts)

    def reset(self) -> None:
        """Nothing is kept of an image."""

    def kill(self) -> None:
        """Nothing was started."""

    def close(self) -> None:
        """Nothing was started."""


def _unexpected(step: str, error: Exception) -> ImageError:
    text = " ".join(str(error).split())[:200]
    return ImageError(ImageCode.INTERNAL, f"{step} raised {type(error).__name__}: {text}")


def _encode(image: Image, params: Encode) -> File:
    if params.format == "keep":
        params = params.for_source(image.metadata.type)
        image = fit(image, params)
    data = encode(image, params)
    media_type, extension = params.media_type, params.format
    place = read_place(image.metadata.exif)
    return File(data, image.width, image.height, media_type, extension, image.regions, image.warnings, place)


def _check_before(operation: Planned, parts: Sequence[Image], limits: Limits) -> None:
    """Raise ImageError where the parameters alone show that a step would make too much."""
    made = [(part.shape.weight, operation.params.extent(*part.full_size)) for part in parts]
    known = [(weight, extent) for weight, extent in made if extent is not None]
    if known:
        pixels = sum(weight * extent.pixels for weight, extent in known)
        check_extent(operation.step, Extent(sum(extent.parts for _, extent in known), pixels), limits)


def _derive(step: str, image: Image, made: Any) -> Iterator[Image]:
    """Yield the images that a step made of one part, from what its function returned."""
    for output in made if isinstance(made, (list, tuple)) else [made]:
        _check_output(step, output, image.pixels)
        yield image.derive(output)


def _read_only(pixels: Pixels) -> Pixels:
    """Return a view that a step cannot write to: its input may be needed again, in every placement."""
    view = pixels.view()
    view.flags.writeable = False
    return view


def _check_output(step: str, output: Any, given: Pixels) -> None:
    """Raise ImageError unless a step returned pixels; 16 bits or transparency only if its input has them."""
    made = output.pixels if isinstance(output, StepOutput) else output
    if not isinstance(made, np.ndarray):
        raise ImageError(ImageCode.INTERNAL, f"{step} returned {type(made).__name__}; accepted is H×W×3 uint8")
    if made.ndim != 3 or made.shape[2] not in (3, given.shape[2]) or made.dtype not in (np.uint8, given.dtype):
        shown = f"{made.dtype} {made.shape}"
        raise ImageError(ImageCode.INTERNAL, f"{step} returned {shown}; accepted is H×W×3 uint8")
