"""One picture as one safetensors file: what a step's program reads and writes."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.store.base import Buffer
from penstock.worker.executors.safetensors import Picture

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 64 * 1024
_PREFIX_BYTES = 8


def picture_pieces(picture: Picture) -> list[Buffer]:
    """Return the pieces of a file that holds an `H×W×3 uint8` BGR picture as its tensor `image`."""
    tensor = {"dtype": "U8", "shape": picture.shape, "data_offsets": [0, picture.nbytes]}
    text = json.dumps({"image": tensor}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, np.ascontiguousarray(picture).data.cast("B")]


def is_picture_file(head: bytes) -> bool:
    """Whether a file begins as safetensors do, which no JPEG or PNG can."""
    return len(head) > _PREFIX_BYTES and head[4:8] == bytes(4) and head[8:9] == b"{"


def read_picture(data: bytes) -> Picture:
    """Return the picture of a file, as a read-only view.

    Raises:
        ImageError: `corrupt_image`, it is not one `H×W×3 uint8` tensor.
    """
    shape, start = read_shape(data, len(data))
    return np.frombuffer(data, np.uint8, shape[0] * shape[1] * 3, start).reshape(shape)


def read_shape(head: bytes, size_bytes: int) -> tuple[tuple[int, int, int], int]:
    """Return a picture's shape, and where its pixels begin, from the head of its file of `size_bytes`.

    Raises:
        ImageError: `corrupt_image`, the file does not hold one `H×W×3 uint8` tensor.
    """
    length = int.from_bytes(head[:_PREFIX_BYTES], "little")
    start = _PREFIX_BYTES + length
    if not is_picture_file(head) or length > MAX_HEADER_BYTES or start > len(head):
        raise _corrupt(f"{size_bytes} bytes that are no safetensors file")
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


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, Sequence)
        and len(shape) == 3
        and all(type(side) is int and 1 <= side < 1 << 31 for side in shape)
        and shape[2] == 3
    )


def _corrupt(message: str) -> ImageError:
    return ImageError(ImageCode.CORRUPT_IMAGE, message)
