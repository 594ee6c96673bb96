"""Safetensors: raw pixels in files, of a chunk's images between two steps and of one image for a step's program.

Read and written without the library. The format is 8 bytes of length, a JSON header and the bytes themselves, so
nothing is copied: arrays are written as they are in memory, and read as views.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.store.base import Buffer

Pixels = NDArray[np.uint8]
"""`H×W×3 uint8`, BGR."""

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 64 * 1024
"""Longest header of a file that a program made."""

_PREFIX_BYTES = 8
HEAD_BYTES = _PREFIX_BYTES + MAX_HEADER_BYTES


class Blob:
    """The images of a chunk, as `pack_chunk` wrote them. Raises ValueError if the file is damaged."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            (length,) = struct.unpack_from("<Q", data)
            self._header = json.loads(data[_PREFIX_BYTES : _PREFIX_BYTES + length])
        except (struct.error, ValueError) as error:
            raise ValueError(f"not a safetensors file, {len(data)} bytes") from error
        self._start = _PREFIX_BYTES + length

    def parts(self, slot: int, count: int) -> list[Pixels]:
        """Return one slot's parts as read-only views; raises ValueError if they are missing or cut off."""
        try:
            return [self._view(self._header[f"{slot}.{index}"]) for index in range(count)]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the blob of {len(self._data)} bytes lacks the {count} parts of slot {slot}") from error

    def _view(self, tensor: Mapping[str, list[int]]) -> Pixels:
        shape = tensor["shape"]
        offset = self._start + tensor["data_offsets"][0]
        return np.frombuffer(self._data, np.uint8, math.prod(shape), offset).reshape(shape)


def pack_chunk(slots: Mapping[int, Sequence[Pixels]]) -> list[Buffer]:
    """Return the pieces of a file that holds each slot's parts as tensors `<slot>.<part>`."""
    return _pack({f"{slot}.{index}": part for slot, parts in slots.items() for index, part in enumerate(parts)})


def pack_image(pixels: Pixels) -> list[Buffer]:
    """Return the pieces of a file that holds one array as its tensor `image`."""
    return _pack({"image": pixels})


def is_safetensors(head: bytes) -> bool:
    """Return whether a file begins like safetensors, as no JPEG or PNG does."""
    return len(head) > _PREFIX_BYTES and head[4:8] == bytes(4) and head[8:9] == b"{"


def read_image(data: bytes) -> Pixels:
    """Return the only array of a file, as a read-only view.

    Raises:
        ImageError: `corrupt_image`, the file does not hold one `H×W×3 uint8` tensor.
    """
    shape, start = read_shape(data, len(data))
    return np.frombuffer(data, np.uint8, math.prod(shape), start).reshape(shape)


def read_shape(head: bytes, size_bytes: int) -> tuple[tuple[int, int, int], int]:
    """Return the shape of the only array, and where its pixels begin; `head` is the head of a file of `size_bytes`."""
    length = int.from_bytes(head[:_PREFIX_BYTES], "little")
    start = _PREFIX_BYTES + length
    if not is_safetensors(head) or length > MAX_HEADER_BYTES or start > len(head):
        raise _corrupt(f"not a safetensors file, {size_bytes} bytes")
    try:
        tensors = [item for name, item in json.loads(head[_PREFIX_BYTES:start]).items() if name != "__metadata__"]
        (tensor,) = tensors
        dtype, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _corrupt("no safetensors file with one tensor") from error
    if dtype != "U8" or not _is_shape(shape) or begin != 0:
        raise _corrupt(f"a tensor of {str(dtype)[:20]} {str(shape)[:60]}; accepted is U8 [height, width, 3]")
    height, width, _ = shape
    if end != height * width * 3 or start + end != size_bytes:
        raise _corrupt(f"{size_bytes} bytes for {width}x{height} pixels; accepted are {start + height * width * 3}")
    return (height, width, 3), start


def _pack(arrays: Mapping[str, Pixels]) -> list[Buffer]:
    header: dict[str, object] = {}
    pieces: list[Buffer] = []
    offset = 0
    for name, pixels in arrays.items():
        end = offset + pixels.nbytes
        header[name] = {"dtype": "U8", "shape": pixels.shape, "data_offsets": [offset, end]}
        pieces.append(np.ascontiguousarray(pixels).data.cast("B"))
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, *pieces]


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, Sequence)
        and len(shape) == 3
        and all(type(side) is int and 1 <= side < 1 << 31 for side in shape)
        and shape[2] == 3
    )


def _corrupt(message: str) -> ImageError:
    return ImageError(ImageCode.CORRUPT_IMAGE, message)
