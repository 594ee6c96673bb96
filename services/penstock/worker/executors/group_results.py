"""Group results: what a group step made, checked: images that are still to be encoded, or files as they are."""

import mimetypes
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.names import fold
from penstock.common.model.parameters import Extent
from penstock.common.model.result_names import check_file_name
from penstock.common.settings import Limits
from penstock.steps.image import Image, StepOutput
from penstock.worker.executors.base import File, check_extent, check_made
from penstock.worker.memory import WorkerMemory

_TYPES = mimetypes.MimeTypes(())
"""The media types that Python knows, whatever the host's own tables say."""


def collect_results(
    step: str, made: Any, limits: Limits, memory: WorkerMemory | None = None
) -> list[Image] | list[File]:
    """Return the results of a group step, given what its function returned.

    Raises:
        ImageError: it is neither pixels nor files, too much for the limits or for `memory`, or nothing; or making it
            failed.
    """
    if isinstance(made, Mapping):
        return collect_files(step, made.items(), limits)
    outputs = [made] if isinstance(made, (np.ndarray, StepOutput)) else made
    if not isinstance(outputs, Iterable):
        raise _no_result(step, made)
    images: list[Image] = []
    pixels = size_bytes = 0
    for output in outputs:  # each is checked before the next one takes memory, too
        images.append(_read_output(step, output))
        pixels += images[-1].shape.counted_pixels
        size_bytes += images[-1].pixels.nbytes
        check_extent(step, Extent(len(images), pixels), limits)
        if memory is not None:
            memory.check(step, size_bytes)
    check_made(step, images, limits)
    return images


def collect_files(step: str, made: Iterable[tuple[str, bytes]], limits: Limits) -> list[File]:
    """Return files with names of their own as results.

    Raises:
        ImageError: there are none or too many, one is too large, or a name is not accepted.
    """
    files: list[File] = []
    names: set[str] = set()
    for name, data in made:
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise _no_result(step, data)
        if len(data) > limits.max_file_bytes:
            message = f"{step} made a file of {len(data)} bytes; {limits.accepted('max_file_bytes')}"
            raise ImageError(ImageCode.TOO_LARGE_FILE, message)
        files.append(_make_file(step, name, data))
        names.add(fold(name))
    check_extent(step, Extent(len(files), 0), limits)
    if len(names) < len(files):
        raise ImageError(ImageCode.INTERNAL, f"{step} made two files whose names differ in upper and lower case alone")
    return files


def own_files(parts: Iterable[Any]) -> list[File]:
    """Return those of the parts that are files as they are: all or none."""
    return [part for part in parts if isinstance(part, File)]


def _make_file(step: str, name: str, data: bytes) -> File:
    try:
        check_file_name(name)
    except ValueError as error:
        raise ImageError(ImageCode.INTERNAL, f"{step} made a file {error}") from error
    media_type = _TYPES.guess_type(name)[0] or "application/octet-stream"
    return File(data, 0, 0, media_type, name.rpartition(".")[2], name=name)


def _read_output(step: str, output: Any) -> Image:
    pixels = output.pixels if isinstance(output, StepOutput) else output
    if not isinstance(pixels, np.ndarray):
        raise _no_result(step, output)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        message = f"{step} returned {pixels.dtype} {pixels.shape}; accepted is H×W×3 uint8"
        raise ImageError(ImageCode.INTERNAL, message)
    return Image(pixels, regions=(*output.regions,) if isinstance(output, StepOutput) else ())


def _no_result(step: str, made: object) -> ImageError:
    accepted = "accepted are H×W×3 uint8, a list of them, and files as {name: bytes}"
    return ImageError(ImageCode.INTERNAL, f"{step} returned {type(made).__name__}; {accepted}")
