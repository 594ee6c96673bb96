"""Intermediates: the raw pixels of a chunk between two steps, as one safetensors file.

Written and read by hand, because the format is 8 bytes of length, a JSON header and the bytes themselves, and doing so
saves the copy that a library must make: pieces go to the store as they lie in memory, and come back as views.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.common.store.port import Buffer

Picture = NDArray[np.uint8]
"""`H×W×3 uint8`, BGR."""


def pack(pictures: Mapping[int, Sequence[Picture]]) -> list[Buffer]:
    """Return the pieces of a safetensors file that holds each slot's parts as tensors `<slot>.<part>`."""
    header: dict[str, object] = {}
    pieces: list[Buffer] = []
    offset = 0
    for slot, parts in pictures.items():
        for index, part in enumerate(parts):
            end = offset + part.nbytes
            header[f"{slot}.{index}"] = {"dtype": "U8", "shape": part.shape, "data_offsets": [offset, end]}
            pieces.append(np.ascontiguousarray(part).data.cast("B"))
            offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, *pieces]


def unpack(data: bytes, slot: int, parts: int) -> list[Picture]:
    """Return one slot's parts as read-only views of `data`.

    Raises:
        ValueError: not a file that `pack` wrote, or without that slot.
    """
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        return [_view(data, 8 + length, header[f"{slot}.{index}"]) for index in range(parts)]
    except (struct.error, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"a blob of {len(data)} bytes without the {parts} parts of slot {slot}") from error


def _view(data: bytes, start: int, tensor: Mapping[str, list[int]]) -> Picture:
    shape = tensor["shape"]
    offset = start + tensor["data_offsets"][0]
    return np.frombuffer(data, np.uint8, math.prod(shape), offset).reshape(shape)
