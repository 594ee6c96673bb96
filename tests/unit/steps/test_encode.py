from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.steps.encode import encode
from penstock.steps.image import Image
from penstock.steps.png.filters import ALL_FILTERS, NONE, filter_rows, pad_rows


def read(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def opencv_png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_a_jpeg_has_the_bytes_that_opencv_writes_by_default(image: np.ndarray) -> None:
    assert encode(Image(image), Encode()) == cv2.imencode(".jpg", image)[1].tobytes()


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_a_jpeg_of_any_quality_has_opencvs_bytes(drawing: np.ndarray, quality: int) -> None:
    expected = cv2.imencode(".jpg", drawing, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert encode(Image(drawing), Encode(quality=quality)) == expected


@pytest.mark.parametrize("effort", range(4))
def test_a_png_holds_every_pixel(image: np.ndarray, effort: int) -> None:
    assert np.array_equal(read(encode(Image(image), Encode(format="png", effort=effort))), image)


def test_a_png_of_a_quadrant_holds_its_pixels(drawing: np.ndarray) -> None:
    quadrant = drawing[36:, 48:]
    assert np.array_equal(read(encode(Image(quadrant), Encode(format="png"))), quadrant)


def test_a_png_is_never_larger_than_opencvs(image: np.ndarray) -> None:
    assert len(encode(Image(image), Encode(format="png"))) <= len(opencv_png(image))


@pytest.mark.parametrize("kind", ["flat", "black", "noise", "two values", "gradient", "steps"])
@pytest.mark.parametrize("side", [1, 10, 100, 300])
def test_a_png_of_a_synthetic_image_is_never_larger_than_opencvs(
    kind: str, side: int, seeded: np.random.Generator
) -> None:
    grey = {
        "flat": lambda: np.full((side, side), 77),
        "black": lambda: np.zeros((side, side)),
        "noise": lambda: seeded.integers(0, 256, (side, side)),
        "two values": lambda: seeded.integers(0, 2, (side, side)) * 255,
        "gradient": lambda: np.add.outer(np.arange(side), np.arange(side)) * 127 // side,
        "steps": lambda: np.add.outer(np.arange(side) // 8, np.arange(side) // 8) % 2 * 255,
    }[kind]()
    image = np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    encoded = encode(Image(image), Encode(format="png"))
    assert np.array_equal(read(encoded), image)
    assert len(encoded) <= len(opencv_png(image))


def test_pngs_of_photographs_are_smaller_than_opencvs(photos: list[np.ndarray]) -> None:
    for photo in photos:
        half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for image in (half, cv2.GaussianBlur(half, (5, 5), 0), cv2.medianBlur(half, 5), half[:60, :80]):
            assert len(encode(Image(image), Encode(format="png"))) < len(opencv_png(image))


def test_more_effort_makes_smaller_files(photos: list[np.ndarray]) -> None:
    photo = photos[0][:256, :256]
    sizes = [len(encode(Image(photo), Encode(format="png", effort=effort))) for effort in range(4)]
    assert sizes[3] <= sizes[2] <= sizes[0]


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_equal_arrays_give_equal_bytes(drawing: np.ndarray, form: str) -> None:
    params = Encode(format=form)  # type: ignore[arg-type]
    assert encode(Image(drawing), params) == encode(Image(np.asfortranarray(drawing)), params)


def test_a_png_has_no_chunks_but_ihdr_idat_and_iend(drawing: np.ndarray) -> None:
    data, kinds, position = encode(Image(drawing), Encode(format="png")), [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        content = data[position + 4 : position + 8 + length]
        assert zlib.crc32(content) == int.from_bytes(data[position + 8 + length : position + 12 + length], "big")
        kinds.append(content[:4])
        position += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("kind", [NONE, *ALL_FILTERS])
def test_libpng_reads_back_the_rows_of_each_filter(image: np.ndarray, kind: int) -> None:
    from penstock.steps.png.file import make_png

    height, width, _ = image.shape
    rows = filter_rows(pad_rows(image), [kind], 3)
    assert set(rows[:, 0]) == {kind}
    assert np.array_equal(read(make_png(width, height, zlib.compress(rows.tobytes()))), image)


def test_a_jpeg_longer_than_the_format_allows_is_refused() -> None:
    with pytest.raises(ImageError, match="65500 per side") as refused:
        encode(Image(np.zeros((1, 65_501, 3), np.uint8)), Encode())
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE


@pytest.mark.parametrize("effort", range(4))
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_holds_16_bits_and_transparency(
    dtype: type[np.uint8 | np.uint16], channels: int, effort: int, seeded: np.random.Generator
) -> None:
    for height, width in ((1, 1), (3, 7), (120, 90)):
        ramp = np.linspace(0, np.iinfo(dtype).max, width * channels).astype(dtype).reshape(1, width, channels)
        image = np.repeat(ramp, height, axis=0)
        image[height // 2 :] ^= seeded.integers(0, 4, image[height // 2 :].shape).astype(dtype)
        encoded = encode(Image(image), Encode(format="png", effort=effort))
        decoded = read(encoded)
        assert decoded.dtype == dtype
        assert np.array_equal(decoded, image)
        assert effort < 2 or len(encoded) <= len(opencv_png(image))


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)])
def test_a_jpeg_of_16_bits_or_transparency_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="accepted is uint8") as refused:
        encode(Image(pixels), Encode(format="jpg"))
    assert refused.value.code is ImageCode.INTERNAL


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 2), (0, 4, 3)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="is not an image") as refused:
        encode(Image(np.zeros(shape, np.uint8)), Encode())
    assert refused.value.code is ImageCode.INTERNAL


def test_an_array_of_floats_is_refused() -> None:
    with pytest.raises(ImageError, match="float64"):
        encode(Image(np.zeros((4, 4, 3))), Encode())


@pytest.mark.parametrize("max_bytes", [2_000, 5_000, 20_000])
def test_the_quality_is_lowered_until_a_jpeg_fits(drawing: np.ndarray, max_bytes: int) -> None:
    sizes = [len(encode(Image(drawing), Encode(quality=quality))) for quality in range(1, 91)]
    assert sizes[0] <= max_bytes
    fitting = max(quality for quality, size in enumerate(sizes, start=1) if size <= max_bytes)
    expected = encode(Image(drawing), Encode(quality=fitting))
    assert encode(Image(drawing), Encode(quality=90, max_bytes=max_bytes)) == expected


def test_a_jpeg_that_fits_nowhere_has_the_lowest_quality(drawing: np.ndarray) -> None:
    assert encode(Image(drawing), Encode(max_bytes=1)) == encode(Image(drawing), Encode(quality=1))
