"""Safetensors: arrays come back bit for bit, and the safetensors library can read them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load

from penstock.worker.executors.safetensors import Blob, pack_chunk


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


SLOTS = {0: [draw(1, 1)], 3: [draw(5, 7, 1), draw(7, 5, 2)], 7: [draw(640, 480, 3)[::2, 100:301]]}
BLOB = b"".join(bytes(piece) for piece in pack_chunk(SLOTS))


@pytest.mark.parametrize("slot", SLOTS)
def test_packed_arrays_come_back_bit_for_bit(slot: int) -> None:
    back = Blob(BLOB).parts(slot, len(SLOTS[slot]))
    assert all(np.array_equal(one, other) for one, other in zip(back, SLOTS[slot], strict=True))
    assert not any(part.flags.writeable for part in back)


def test_the_library_can_read_a_packed_chunk() -> None:
    tensors = load(BLOB)
    assert set(tensors) == {"0.0", "3.0", "3.1", "7.0"}
    assert np.array_equal(tensors["3.1"], SLOTS[3][1])


def test_pixels_are_aligned() -> None:
    header = pack_chunk(SLOTS)[0]
    assert len(header) % 8 == 0


@pytest.mark.parametrize(
    ("blob", "slot", "parts"),
    [
        (b"", 0, 1),
        (BLOB[:7], 0, 1),
        (BLOB[:60], 0, 1),
        (BLOB[:-1], 7, 1),
        (BLOB, 1, 1),
        (BLOB, 0, 2),
        (b"\xff" * 200, 0, 1),
        (b"\x02" + b"\0" * 7 + b"[]", 0, 1),
        (b"\x02" + b"\0" * 7 + b"\xff\xff", 0, 1),
    ],
    ids=["empty", "length", "header", "pixels", "slot", "part", "noise", "list", "bytes"],
)
def test_a_damaged_blob_or_a_missing_part_is_a_value_error(blob: bytes, slot: int, parts: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Blob(blob).parts(slot, parts)
