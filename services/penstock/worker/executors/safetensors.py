"""Safetensors: images in files, those of a chunk between two steps and one for a step's program.

Read and written without the library. The format is 8 bytes of length, a JSON header and the bytes themselves, so
nothing is copied: arrays are written as they are in memory, and read as views. Pixels are a tensor for each part;
metadata such as EXIF are one-dimensional tensors; what else belongs to an image is JSON in `__metadata__`.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.regions import Regions
from penstock.common.store.base import Buffer
from penstock.steps.image import Image, Metadata, Shape
from penstock.steps.transform import IDENTITY, Transform

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 1024 * 1024
"""Longest header of a file that a program made."""

_PREFIX_BYTES = 8
HEAD_BYTES = _PREFIX_BYTES + MAX_HEADER_BYTES
MAX_METADATA_BYTES = 32 * 1024 * 1024
"""Most bytes of metadata in a file that a program made."""

_NAME = "image"
_METADATA = "__metadata__"
_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8), "U16": np.dtype("<u2")}
_BYTES = ("exif", "xmp", "iptc", "icc", "geotiff")
"""Fields of `Metadata` that are tensors."""


class _PartFacts(BaseModel):
    transform: Transform | None = IDENTITY
    regions: Regions = ()
    warnings: tuple[str, ...] = ()
    reduced: bool = False


class _ImageFacts(BaseModel):
    """What `__metadata__` holds of an image; left out where it is empty, as in files of version 0.1.0."""

    type: str = ""
    width: int = 0
    height: int = 0
    parts: list[_PartFacts] = []


class Blob:
    """The images of a chunk, as `pack_chunk` wrote them. Raises ValueError if the file is damaged.

    `read` returns the bytes from one offset to another, fewer where the file ends; only what is asked for is read.
    """

    def __init__(self, read: Callable[[int, int], Buffer]) -> None:
        self._read = read
        try:
            (length,) = struct.unpack("<Q", read(0, _PREFIX_BYTES))
            self._start = _PREFIX_BYTES + length
            self._header = json.loads(bytes(read(_PREFIX_BYTES, self._start)))
        except (struct.error, ValueError, OverflowError, MemoryError) as error:
            raise ValueError("not a safetensors file") from error

    @classmethod
    def of(cls, data: bytes) -> "Blob":
        """Return the blob of a whole file."""
        view = memoryview(data)
        return cls(lambda start, end: view[start:end])

    def size_bytes(self, slot: int) -> int:
        """Return the bytes of one slot's parts, without reading them."""
        return sum(_size_bytes(each) for name, each in self._header.items() if name.startswith(f"{slot}."))

    def parts(self, slot: int, count: int) -> list[Image]:
        """Return one slot's parts with read-only pixels; raises ValueError if they are missing or cut off."""
        return self._images([f"{slot}.{index}" for index in range(count)], f"{slot}", f"{slot}.")

    def image(self) -> Image:
        """Return the only part of a file that `pack_image` or a program wrote; raises ValueError as `parts` does."""
        (name,) = [name for name in self._header if name not in (_METADATA, *_BYTES)]
        return self._images([name], _NAME, "")[0]

    def _images(self, names: Sequence[str], key: str, prefix: str) -> list[Image]:
        try:
            pixels = [self._view(self._header[name]) for name in names]
            facts = _ImageFacts.model_validate_json(self._header.get(_METADATA, {}).get(key, "{}"))
            texts = {
                field: self._view(self._header[prefix + field]).tobytes()
                for field in _BYTES
                if prefix + field in self._header
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the file lacks some of {', '.join(names)[:80]}") from error
        metadata = Metadata(facts.type, facts.width, facts.height, **texts)
        parts = facts.parts or [_PartFacts()] * len(names)
        return [
            Image(each, metadata, part.transform, part.regions, part.warnings, part.reduced)
            for each, part in zip(pixels, parts, strict=True)
        ]

    def _view(self, tensor: Mapping[str, Any]) -> NDArray[Any]:
        start = self._start + tensor["data_offsets"][0]
        data = self._read(start, start + _size_bytes(tensor))
        return np.frombuffer(data, _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])


def pack_chunk(slots: Mapping[int, Sequence[Image]]) -> list[Buffer]:
    """Return the pieces of a file that holds each slot's parts as tensors `<slot>.<part>`."""
    tensors: dict[str, NDArray[Any]] = {}
    facts: dict[str, str] = {}
    for slot, parts in slots.items():
        tensors |= {f"{slot}.{index}": part.pixels for index, part in enumerate(parts)}
        _add_facts(tensors, facts, parts, f"{slot}", f"{slot}.")
    return _pack(tensors, facts)


def pack_image(image: Image) -> list[Buffer]:
    """Return the pieces of a file that holds one part; its pixels are the tensor `image`."""
    tensors: dict[str, NDArray[Any]] = {_NAME: image.pixels}
    facts: dict[str, str] = {}
    _add_facts(tensors, facts, [image], _NAME, "")
    return _pack(tensors, facts)


def is_safetensors(head: bytes) -> bool:
    """Return whether a file begins like safetensors, as no image file does."""
    return len(head) > _PREFIX_BYTES and head[4:8] == bytes(4) and head[8:9] == b"{"


def read_image(data: bytes) -> Image:
    """Return the part that a file holds, with read-only pixels.

    Raises:
        ImageError: `corrupt_image`, the file does not hold the pixels of one image.
    """
    read_shape(data, len(data))
    try:
        return Blob.of(data).image()
    except ValueError as error:
        raise _corrupt(f"facts of an image that cannot be read: {' '.join(str(error).split())[:200]}") from error


def read_shape(head: bytes, size_bytes: int) -> Shape:
    """Return the shape of the pixels in a file of `size_bytes`, from its first `HEAD_BYTES` bytes.

    Raises:
        ImageError: `corrupt_image`, the file is no safetensors file with the pixels of one image.
    """
    length = int.from_bytes(head[:_PREFIX_BYTES], "little")
    start = _PREFIX_BYTES + length
    if not is_safetensors(head) or length > MAX_HEADER_BYTES or start > len(head):
        raise _corrupt(f"not a safetensors file, {size_bytes} bytes")
    try:
        header = json.loads(head[_PREFIX_BYTES:start])
        header.pop(_METADATA, None)
        (tensor,) = [each for name, each in header.items() if name not in _BYTES]
        dtype, shape = tensor["dtype"], tensor["shape"]
        if dtype not in _DTYPES or not _is_shape(shape):
            raise _corrupt(f"a tensor of {str(dtype)[:20]} {str(shape)[:60]}; accepted is U8 [height, width, 3]")
        spans = sorted((*each["data_offsets"], _size_bytes(each)) for each in header.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _corrupt("no safetensors file with one tensor") from error
    expected = 0
    for begin, end, wanted in spans:
        if (begin, end) != (expected, begin + wanted):
            raise _corrupt(f"a tensor at bytes {begin} to {end}; accepted are tensors one after the other")
        expected = end
    height, width, channels = shape
    pixel_bytes = _size_bytes(tensor)
    if start + expected != size_bytes or expected - pixel_bytes > MAX_METADATA_BYTES:
        raise _corrupt(f"{size_bytes} bytes for {width}x{height} pixels; accepted are {start + pixel_bytes}")
    return Shape(height, width, channels, _DTYPES[dtype].itemsize)


def _add_facts(
    tensors: dict[str, NDArray[Any]], facts: dict[str, str], parts: Sequence[Image], key: str, prefix: str
) -> None:
    """Add what belongs to an image besides its pixels; nothing if it is as good as empty."""
    metadata = parts[0].metadata
    for field in _BYTES:
        if value := getattr(metadata, field):
            tensors[prefix + field] = np.frombuffer(value, np.uint8)
    found = _ImageFacts(
        type=metadata.type,
        width=metadata.width,
        height=metadata.height,
        parts=[_PartFacts.model_validate(part, from_attributes=True) for part in parts],
    )
    if metadata.type or any(part != _PartFacts() for part in found.parts):
        facts[key] = found.model_dump_json(exclude_defaults=True)


def _pack(tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, str]) -> list[Buffer]:
    header: dict[str, object] = {_METADATA: dict(facts)} if facts else {}
    pieces: list[Buffer] = []
    offset = 0
    for name, array in sorted(tensors.items(), key=_is_bytes):  # 16-bit pixels first, which keeps them aligned
        end = offset + array.nbytes
        dtype = "U8" if array.dtype == np.uint8 else "U16"
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [offset, end]}
        pieces.append(np.ascontiguousarray(array).data.cast("B"))
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, *pieces]


def _is_bytes(named: tuple[str, NDArray[Any]]) -> bool:
    return named[1].dtype == np.uint8


def _size_bytes(tensor: Mapping[str, Any]) -> int:
    return int(_DTYPES[tensor["dtype"]].itemsize * math.prod(tensor["shape"]))


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, Sequence)
        and len(shape) == 3
        and all(type(side) is int and 1 <= side < 1 << 31 for side in shape)
        and shape[2] in (3, 4)
    )


def _corrupt(message: str) -> ImageError:
    return ImageError(ImageCode.CORRUPT_IMAGE, message)
