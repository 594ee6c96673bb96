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

from penstock.common.store.base import Buffer

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


class Blob:
    """A chunk's intermediates as they came from the store.

    Raises:
        ValueError: not a file that `pack` wrote.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            (length,) = struct.unpack_from("<Q", data)
            self._header = json.loads(data[8 : 8 + length])
        except (struct.error, ValueError) as error:
            raise ValueError(f"{len(data)} bytes that are no safetensors file") from error
        self._start = 8 + length

    def parts(self, slot: int, count: int) -> list[Picture]:
        """Return one slot's parts as read-only views.

        Raises:
            ValueError: they are not there.
        """
        try:
            return [self._view(self._header[f"{slot}.{index}"]) for index in range(count)]
        except (KeyError, TypeError) as error:
            raise ValueError(f"a blob of {len(self._data)} bytes without the {count} parts of slot {slot}") from error

    def _view(self, tensor: Mapping[str, list[int]]) -> Picture:
        shape = tensor["shape"]
        offset = self._start + tensor["data_offsets"][0]
        return np.frombuffer(self._data, np.uint8, math.prod(shape), offset).reshape(shape)
