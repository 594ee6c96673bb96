"""Intermediates: what is packed comes back bit for bit, and the safetensors library reads it as well."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load

from penstock.worker.executors.safetensors import Blob, pack


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = {0: [picture(1, 1)], 3: [picture(5, 7, 1), picture(7, 5, 2)], 7: [picture(640, 480, 3)[::2, 100:301]]}
BLOB = b"".join(bytes(piece) for piece in pack(PICTURES))


@pytest.mark.parametrize("slot", PICTURES)
def test_what_is_packed_comes_back_bit_for_bit(slot: int) -> None:
    back = Blob(BLOB).parts(slot, len(PICTURES[slot]))
    assert all(np.array_equal(one, other) for one, other in zip(back, PICTURES[slot], strict=True))
    assert not any(part.flags.writeable for part in back)


def test_steps_in_other_languages_can_read_it() -> None:
    tensors = load(BLOB)
    assert set(tensors) == {"0.0", "3.0", "3.1", "7.0"}
    assert np.array_equal(tensors["3.1"], PICTURES[3][1])


def test_pixels_begin_at_an_aligned_place() -> None:
    header = pack(PICTURES)[0]
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
def test_what_is_damaged_or_lacks_a_part_is_a_value_error(blob: bytes, slot: int, parts: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Blob(blob).parts(slot, parts)
