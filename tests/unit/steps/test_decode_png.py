from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.png import file as pngfile

LIMITS = Limits()
OPENCVS = Decode(alpha="drop", depth="8")
"""As `cv2.IMREAD_COLOR` reads files."""
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8)]
KINDS += [(6, 16)]
Chunk = Callable[..., bytes]


def opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as refused:
        decode(data, LIMITS)
    return refused.value


@pytest.fixture(params=["repacked", "unchanged"])
def repacking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are repacked for decoding, large ones are not; both are tested."""
    if request.param == "unchanged":
        monkeypatch.setattr(pngfile, "MAX_REPACKED_BYTES", 0)


@pytest.mark.usefixtures("repacking")
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind_of_png_decodes_to_opencvs_pixels(
    png_file: type[Any], png_chunk: Chunk, colour: int, depth: int, interlaced: bool
) -> None:
    transparent = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: b"\x10"}.get(colour)
    others = [png_chunk(b"gAMA", struct.pack(">I", 45_455)), png_chunk(b"tEXt", b"Title\0x")]
    for size in ((1, 1), (3, 2), (33, 1), (1, 9), (40, 30)):
        file = png_file(*size, depth, colour, interlaced)
        for before in ([], others, [png_chunk(b"tRNS", transparent)] if transparent else []):
            data = file.build(before=before)
            assert np.array_equal(decode(data, LIMITS, OPENCVS).pixels, opencv(data)), size


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 6, 8, 9])
def test_orientation_in_a_png_is_applied_as_in_opencv(
    png_file: type[Any], png_chunk: Chunk, number: int, place: str
) -> None:
    tiff = b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, number, 0)
    text = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(tiff) + 6, (b"Exif\0\0" + tiff).hex().encode())
    for item in (png_chunk(b"eXIf", tiff), png_chunk(b"tEXt", text)):
        data = png_file(9, 5).build(**{place: [item]})
        assert np.array_equal(decode(data, LIMITS, OPENCVS).pixels, opencv(data))


def test_16_bits_are_cut_to_8_alpha_is_dropped_and_grey_becomes_three_channels(png_file: type[Any]) -> None:
    sixteen = np.frombuffer(png_file(4, 1, 16, 2).rows[1:], ">u2").reshape(1, 4, 3)
    eight = np.zeros((1, 4, 4), np.uint8)
    eight[..., :3] = (10, 200, 30)
    grey = cv2.imencode(".png", np.array([[7, 250]], np.uint8))[1].tobytes()
    flat = struct.pack(">H", 0xABFF) * 12
    high_byte = png_file(4, 1, 16, 2).build(pixels=zlib.compress(b"\0" + flat))
    assert sixteen.shape == (1, 4, 3)
    assert np.all(decode(high_byte, LIMITS, OPENCVS).pixels == 0xAB)
    transparent = cv2.imencode(".png", eight)[1].tobytes()
    assert np.all(decode(transparent, LIMITS, OPENCVS).pixels == (10, 200, 30))
    assert decode(grey, LIMITS, OPENCVS).pixels.tolist() == [[[7, 7, 7], [250, 250, 250]]]


def test_photographs_decode_to_opencvs_pixels(photographs: Path) -> None:
    for name in ("1", "20"):
        data = (photographs / "kodak" / f"{name}.png").read_bytes()
        assert np.array_equal(decode(data, LIMITS).pixels, opencv(data))


@pytest.mark.usefixtures("repacking")
def test_a_png_cut_anywhere_is_refused_as_truncated(png_file: type[Any]) -> None:
    data = png_file(20, 15).build()
    for length in range(8, len(data)):
        assert refusal(data[:length]).code is ImageCode.TRUNCATED_IMAGE, length


@pytest.mark.usefixtures("repacking")
def test_too_few_pixels_in_valid_chunks_are_refused_as_truncated(png_file: type[Any]) -> None:
    file = png_file(20, 15)
    stream = zlib.compress(file.rows)
    short = [zlib.compress(file.rows[:-1]), zlib.compress(file.rows[: len(file.rows) // 2]), b""]
    for pixels in [*short, stream[:-200], stream[:-5], stream[:-4], stream[:-1]]:
        data = file.build(pixels=pixels)
        assert opencv(data) is None
        assert refusal(data).code is ImageCode.TRUNCATED_IMAGE


def test_a_large_png_is_checked_to_its_checksum(png_file: type[Any], png_chunk: Chunk) -> None:
    rows = (b"\0" + bytes(3 * 3_400)) * 3_400
    assert len(rows) > pngfile.MAX_REPACKED_BYTES
    stream = zlib.compress(rows, 1)
    file = png_file(1, 1)
    file.header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 3_400, 3_400, 8, 2, 0, 0, 0))
    assert decode(file.build(stream), LIMITS).pixels.shape == (3_400, 3_400, 3)
    for cut in (stream[:-4], stream[: len(stream) // 2]):
        assert refusal(file.build(cut)).code is ImageCode.TRUNCATED_IMAGE
    assert refusal(file.build(zlib.compress(rows + bytes(10_000_000), 1))).code is ImageCode.CORRUPT_IMAGE


def test_repeated_chunks_are_dropped_without_a_word_from_libpng(
    png_file: type[Any], png_chunk: Chunk, capfd: pytest.CaptureFixture[str]
) -> None:
    file = png_file(20, 15)
    key = png_chunk(b"tRNS", bytes(6))
    assert np.array_equal(decode(file.build(before=[key, key]), LIMITS).pixels, opencv(file.build(before=[key])))
    assert capfd.readouterr().err == ""


def test_a_png_with_any_byte_changed_is_refused(png_file: type[Any]) -> None:
    data = png_file(20, 15).build()
    whole = opencv(data)
    for at in range(8, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        if at >= len(data) - 4:  # the checksum of the last chunk, which is empty
            assert np.array_equal(decode(bytes(damaged), LIMITS).pixels, whole)
        else:
            assert refusal(bytes(damaged)).code in (
                ImageCode.CORRUPT_IMAGE,
                ImageCode.TRUNCATED_IMAGE,
                ImageCode.TOO_MANY_PIXELS,
            ), at


@pytest.mark.usefixtures("repacking")
def test_a_file_that_violates_the_png_standard_is_refused_as_corrupt(png_file: type[Any], png_chunk: Chunk) -> None:
    file = png_file(20, 15)
    stream = zlib.compress(file.rows)
    cases = {
        "pixels in two places": file.build(stream[:100], after=[png_chunk(b"tEXt", b"a\0b"), png_chunk(b"IDAT", b"")]),
        "a second header": file.build(before=[file.header]),
        "an unknown critical chunk": file.build(before=[png_chunk(b"ABCD", b"")]),
        "a wrong checksum": file.build(before=[png_chunk(b"PLTE", b"abc", checksum=1)]),
        "a filter that does not exist": file.build(zlib.compress(b"\x09" + file.rows[1:])),
        "bytes that are no stream": file.build(b"no stream at all"),
        "a stream with a wrong checksum": file.build(stream[:-4] + b"abcd"),
        "no chunk name": file.build(before=[png_chunk(b"\0\0\0\0", b"")]),
        "no palette": png_file(20, 15, colour=3).build().replace(b"PLTE", b"tEXt"),
    }
    codes = {name: refusal(data).code for name, data in cases.items()}
    assert codes == dict.fromkeys(cases, ImageCode.CORRUPT_IMAGE)


@pytest.mark.usefixtures("repacking")
def test_damage_and_data_outside_the_pixels_are_ignored(png_file: type[Any], png_chunk: Chunk) -> None:
    file = png_file(20, 15)
    expected = opencv(file.build())
    harmless = [
        file.build(before=[png_chunk(b"tEXt", b"a\0b", checksum=1)]),
        file.build(before=[png_chunk(b"eXIf", b"MM", checksum=1)]),
        file.build(before=[png_chunk(b"prVt", b"anything")]),
        file.build(end=png_chunk(b"IEND", b"content")),
        file.build(zlib.compress(file.rows + b"more" * 100)),
        file.build(zlib.compress(file.rows) + b"more" * 100),
        file.build() + b"after the end",
    ]
    for data in harmless:
        assert np.array_equal(decode(data, LIMITS).pixels, expected)


def test_an_animation_decodes_to_its_default_image_and_is_refused_if_that_is_short(
    png_file: type[Any], png_chunk: Chunk
) -> None:
    file = png_file(20, 15)
    control = png_chunk(b"acTL", struct.pack(">II", 2, 0))
    frames = [png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 20, 15, 0, 0, 1, 10, 0, 0)) for number in range(2)]
    second = png_chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes(len(file.rows))))
    animated = {"before": [control, frames[0]], "after": [frames[1], second]}
    assert np.array_equal(decode(file.build(**animated), LIMITS).pixels, opencv(file.build()))
    half = zlib.compress(file.rows[: len(file.rows) // 2])
    assert opencv(file.build(half, **animated)) is not None, "OpenCV does not refuse it"
    assert refusal(file.build(half, **animated)).code is ImageCode.TRUNCATED_IMAGE


def test_too_many_chunks_and_a_chunk_of_gigabytes_are_refused(png_file: type[Any], png_chunk: Chunk) -> None:
    file = png_file(2, 2)
    assert "more than 100000 chunks" in refusal(file.build(before=[png_chunk(b"tEXt", b"")] * 200_000)).message
    lying = b"\x89PNG\r\n\x1a\n" + file.header + struct.pack(">I", 0xFFFFFFF0) + b"tEXt" + b"text"
    assert refusal(lying).code is ImageCode.TRUNCATED_IMAGE


def test_a_zlib_bomb_is_refused_without_allocating_its_memory(png_file: type[Any]) -> None:
    bomb = png_file(20, 15).build(zlib.compress(bytes(50_000_000)))
    tracemalloc.start()
    error = refusal(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.code is ImageCode.TRUNCATED_IMAGE
    assert peak < 2_000_000


def test_pixel_bombs_are_refused_from_their_header(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    for path in (photographs / "hostile").glob("bomb-*"):
        data = path.read_bytes()
        tracemalloc.start()
        error = refusal(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert error.code is ImageCode.TOO_MANY_PIXELS
        assert peak < 100_000, path.name


def test_every_hostile_file_is_refused_with_the_right_code(photographs: Path) -> None:
    codes = {path.name: refusal(path.read_bytes()).code.value for path in (photographs / "hostile").iterdir()}
    assert codes == {
        "bomb-16384x16384.png": "too_many_pixels",
        "bomb-65536x65536.png": "too_many_pixels",
        "corrupt-header.jpg": "truncated_image",
        "pngsuite-xc1n0g08.png": "corrupt_image",
        "pngsuite-xcrn0g04.png": "unsupported_type",
        "pngsuite-xd0n2c08.png": "corrupt_image",
        "pngsuite-xdtn0g01.png": "corrupt_image",
        "pngsuite-xhdn0g08.png": "corrupt_image",
        "pngsuite-xs1n0g01.png": "unsupported_type",
        "truncated.jpg": "truncated_image",
    }


def test_damaged_pngs_are_always_refused_with_an_image_error(drawing: np.ndarray, seeded: np.random.Generator) -> None:
    data = cv2.imencode(".png", drawing)[1].tobytes()
    for _ in range(400):
        damaged = bytearray(data)
        for at in seeded.integers(8, len(data), seeded.integers(1, 4)):
            damaged[at] = seeded.integers(256)
        assert isinstance(refusal(bytes(damaged[: seeded.integers(20, len(damaged))])), ImageError)
