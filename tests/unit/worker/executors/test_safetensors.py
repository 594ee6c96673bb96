"""Safetensors: arrays come back bit for bit, and the safetensors library can read them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load

from penstock.common.model.regions import Region
from penstock.steps.image import Image, Metadata
from penstock.steps.transform import Transform
from penstock.worker.executors.safetensors import Blob, pack_chunk, pack_image, read_image


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


SLOTS = {
    0: [Image(draw(1, 1))],
    3: [Image(draw(5, 7, 1)), Image(draw(7, 5, 2))],
    7: [Image(draw(640, 480, 3)[::2, 100:301])],
}
BLOB = b"".join(bytes(piece) for piece in pack_chunk(SLOTS))


@pytest.mark.parametrize("slot", SLOTS)
def test_packed_arrays_come_back_bit_for_bit(slot: int) -> None:
    back = Blob.of(BLOB).parts(slot, len(SLOTS[slot]))
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(back, SLOTS[slot], strict=True))
    assert not any(part.pixels.flags.writeable for part in back)


def test_the_library_can_read_a_packed_chunk() -> None:
    tensors = load(BLOB)
    assert set(tensors) == {"0.0", "3.0", "3.1", "7.0"}
    assert np.array_equal(tensors["3.1"], SLOTS[3][1].pixels)


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
        Blob.of(blob).parts(slot, parts)


METADATA = Metadata("tiff", 70, 50, exif=b"II*\0", icc=b"odd", xmp=b"<x/>")
REGION = Region(box=(1, 2, 3.5, 4), label="face", score=0.5)


def test_what_belongs_to_an_image_comes_back_with_it() -> None:
    odd = Image(draw(5, 7, 1), METADATA, Transform(x0=-3), (REGION,), ("depth_reduced",))
    deep = Image(draw(7, 5, 2).astype(np.uint16) * 257, METADATA, None)
    blob = Blob.of(b"".join(map(bytes, pack_chunk({2: [odd, deep], 4: [odd]}))))
    back = [*blob.parts(2, 2), *blob.parts(4, 1)]
    for one, other in zip(back, [odd, deep, odd], strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.pixels.dtype == other.pixels.dtype
        assert (one.metadata, one.transform, one.regions, one.warnings) == (
            (other.metadata, other.transform, other.regions, other.warnings)
        )


@pytest.mark.parametrize("image", [Image(draw(5, 7)), Image(draw(5, 7), METADATA, regions=(REGION,))])
def test_an_image_in_a_file_of_its_own_comes_back(image: Image) -> None:
    data = b"".join(map(bytes, pack_image(image)))
    back = read_image(data)
    assert np.array_equal(back.pixels, image.pixels)
    assert (back.metadata, back.regions) == (image.metadata, image.regions)
    assert np.array_equal(load(data)["image"], image.pixels), "the library can read it"
