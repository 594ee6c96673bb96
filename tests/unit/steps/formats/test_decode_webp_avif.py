from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.decode import decode

LIMITS = Limits()
KEEP = Decode(alpha="keep")
FORMATS = ["WEBP", "AVIF"]


def write(form: str, rgb: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(rgb).save(file, form, **options)
    return file.getvalue()


def animation(form: str, frames: list[np.ndarray]) -> bytes:
    first, *others = map(Pillow.fromarray, frames)
    file = io.BytesIO()
    first.save(file, form, save_all=True, append_images=others, duration=100)
    return file.getvalue()


def with_orientation(form: str, rgb: np.ndarray, number: int) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = number
    return write(form, rgb, exif=exif.tobytes())


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as refused:
        decode(data, limits)
    return refused.value


def quarters() -> np.ndarray:
    """An image of 60×40 whose quarters are red, green, blue and black."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30, 0] = image[:20, 30:, 1] = image[20:, :30, 2] = 255
    return image


def test_a_lossless_webp_decodes_to_its_pixels(drawing: np.ndarray) -> None:
    data = write("WEBP", drawing[:, :, ::-1], lossless=True)
    assert np.array_equal(decode(data, LIMITS).pixels, drawing)


@pytest.mark.parametrize("form", FORMATS)
def test_a_lossy_file_decodes_as_in_opencv(drawing: np.ndarray, form: str) -> None:
    data = write(form, drawing[:, :, ::-1], quality=80)
    image = decode(data, LIMITS)
    assert np.array_equal(image.pixels, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    assert image.metadata.type == form.lower()
    assert cv2.PSNR(image.pixels, drawing) > 25


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_applied_once(form: str, number: int) -> None:
    upright = quarters()
    stored = decode(write(form, upright, quality=100), LIMITS).pixels
    turned = decode(with_orientation(form, upright, number), LIMITS).pixels
    exif = Pillow.Exif()
    exif[0x0112] = number
    png = io.BytesIO()
    Pillow.fromarray(upright).save(png, "PNG", exif=exif.tobytes())
    expected = cv2.imdecode(np.frombuffer(png.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).mean() < 10
    assert stored.shape == (40, 60, 3)


@pytest.mark.parametrize("form", FORMATS)
def test_the_first_frame_of_an_animation_is_read_with_a_warning(form: str) -> None:
    frames = [np.full((40, 60, 3), value, np.uint8) for value in (10, 100, 200)]
    image = decode(animation(form, frames), LIMITS)
    assert np.abs(image.pixels.astype(int) - 10).max() < 4
    assert image.warnings == ("frames_dropped",)
    assert decode(write(form, frames[0]), LIMITS).warnings == ()


@pytest.mark.parametrize("form", FORMATS)
def test_the_header_says_size_channels_and_depth_before_decoding(form: str) -> None:
    upright = quarters()
    header = read_header(write(form, upright))
    assert (header.type, header.width, header.height, header.components, header.bit_depth) == (
        form.lower(), 60, 40, 3, 8,
    )  # fmt: skip
    transparent = np.dstack([upright, np.full((40, 60), 128, np.uint8)])
    assert read_header(write(form, transparent)).components == 4


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_than_8_bits_is_spread_over_16(bits: int) -> None:
    ramp = np.repeat(np.linspace(0, 2**bits - 1, 256).astype(np.uint16)[None, :, None], 64, 0).repeat(3, 2)
    parameters = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, bits]
    data = cv2.imencode(".avif", ramp, parameters)[1].tobytes()
    pixels = decode(data, LIMITS, Decode(mode="exact")).pixels
    assert read_header(data).bit_depth == bits
    assert pixels.dtype in (np.uint16, np.uint8)
    full = 65_535 if pixels.dtype == np.uint16 else 255
    assert pixels.min() < full // 100
    assert pixels.max() > full - full // 100


@pytest.mark.parametrize("form", FORMATS)
def test_a_grey_file_becomes_three_equal_channels(form: str) -> None:
    pixels = decode(write(form, quarters()[:, :, 0], quality=100), LIMITS).pixels
    assert pixels.shape == (40, 60, 3)
    assert np.abs(pixels.astype(int) - pixels[:, :, :1]).max() < 4


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_anywhere_is_refused(drawing: np.ndarray, form: str) -> None:
    data = write(form, drawing)
    for length in range(12, len(data), 37):
        assert refusal(data[:length]).code in (
            ImageCode.TRUNCATED_IMAGE,
            ImageCode.CORRUPT_IMAGE,
            ImageCode.UNSUPPORTED_TYPE,
        ), length
    assert refusal(data[:-40]).code in (ImageCode.TRUNCATED_IMAGE, ImageCode.CORRUPT_IMAGE)


def test_a_webp_cut_anywhere_is_refused_as_truncated(drawing: np.ndarray) -> None:
    data = write("WEBP", drawing)
    assert {refusal(data[:length]).code for length in range(12, len(data), 11)} == {ImageCode.TRUNCATED_IMAGE}


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_declares_too_many_pixels_is_refused_undecoded(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(write(form, np.dstack([quarters(), np.zeros((40, 60), np.uint8)])))
    monkeypatch.setattr(cv2, "imdecode", None)
    if form == "WEBP":
        at = data.index(b"VP8X") + 12
        data[at : at + 6] = (29_999).to_bytes(3, "little") * 2
        at = data.index(b"VP8 ") + 14
        data[at : at + 4] = struct.pack("<HH", 30_000 & 0x3FFF, 30_000 & 0x3FFF)
        assert refusal(bytes(data)).code in (ImageCode.TOO_MANY_PIXELS, ImageCode.CORRUPT_IMAGE)
        data = data[:12] + data[data.index(b"VP8X") :][:18] + b"ANMF\0\0\0\0"
        data[4:8] = struct.pack("<I", len(data) - 8)
    else:
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", 30_000, 30_000)
    assert refusal(bytes(data)).code is ImageCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_decode_to_their_size_or_are_refused(
    drawing: np.ndarray, seeded: np.random.Generator, form: str
) -> None:
    data, decoded = write(form, drawing), 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in seeded.integers(4, min(len(data), 600 if seeded.random() < 0.5 else len(data)), 2):
            damaged[at] = seeded.integers(256)
        try:
            image = decode(bytes(damaged), LIMITS)
        except ImageError:
            continue
        decoded += 1
        assert image.pixels.dtype in (np.uint8, np.uint16)
        header = read_header(bytes(damaged))
        assert sorted(image.pixels.shape[:2]) == sorted((header.height, header.width))
    assert 0 < decoded < 300


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data.replace(b"ispe", b"free"), "corrupt_image"),
        (lambda data: data.replace(b"pitm", b"free"), "corrupt_image"),
        (lambda data: data.replace(b"ipma", b"free"), "corrupt_image"),
        (lambda data: data.replace(b"meta", b"free"), "corrupt_image"),
        (lambda data: data[:32] + b"\0\0\0\4free" + data[32:], "corrupt_image"),
        (lambda data: data[:32] + b"\0\0\0\x08free" * 10_000 + data[32:], "corrupt_image"),
    ],
)
def test_an_avif_without_what_its_header_needs_is_refused(change: Any, code: str) -> None:
    assert refusal(change(write("AVIF", quarters()))).code == code


@pytest.mark.parametrize("form", FORMATS)
def test_metadata_and_profile_are_found(form: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Pillow.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    data = write(form, quarters(), exif=exif.tobytes(), icc_profile=profile)
    image = decode(data, LIMITS)
    assert (image.width, image.height) == (40, 60)
    assert b"Maker" in image.metadata.exif
    assert image.metadata.icc == profile
    assert decode(data, LIMITS, Decode(metadata="none")).metadata.exif == b""
