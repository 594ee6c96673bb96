from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from icc_profiles import press_profile
from PIL import Image

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.colour.normalise import normalise
from penstock.steps.decode import decode

LIMITS = Limits()


def opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def jpeg(image: np.ndarray, *parameters: int) -> bytes:
    return cv2.imencode(".jpg", image, parameters)[1].tobytes()


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as refused:
        decode(data, limits)
    return refused.value


def with_exif(data: bytes, tiff: bytes) -> bytes:
    content = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


def tiff(number: int, order: str = "<", entries_before: bytes = b"") -> bytes:
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, number, 0)
    count = struct.pack(order + "H", 1 + len(entries_before) // 12)
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8) + count + entries_before + entry


@pytest.mark.parametrize(
    "parameters",
    [
        (),
        (cv2.IMWRITE_JPEG_QUALITY, 10),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ],
)
def test_a_jpeg_decodes_to_opencvs_pixels(image: np.ndarray, parameters: tuple[int, ...]) -> None:
    data = jpeg(image, *parameters)
    result = decode(data, LIMITS).pixels
    assert result.dtype == np.uint8
    assert np.array_equal(result, opencv(data))


def test_a_grey_jpeg_becomes_three_equal_channels(drawing: np.ndarray) -> None:
    data = jpeg(drawing[:, :, 1])
    assert np.array_equal(decode(data, LIMITS).pixels, opencv(data))


# 16×16 pixels, by `cjpeg -quality 40`, one with `-optimize -sample 2x2,1x2,2x1`, the other with `-arithmetic`
ODD_SAMPLING = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
    "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
    "fHx8fHx8fHz/wAARCAAQABADASIAAhIBAyEB/8QAFQABAQAAAAAAAAAAAAAAAAAABgX/xAAeEAABAgcBAAAAAAAAAAAAAAAAATUD"
    "BAUGgYKxsv/EABYBAQEBAAAAAAAAAAAAAAAAAAIEBf/EAB8RAAIABQUAAAAAAAAAAAAAAAABAgMEM3EFEiHB0f/aAAwDAQACEQMR"
    "AD8AkiGlt8LPVAI3t1ll9vSj1mws9Mzq62s+i3EM7mNn/9k="
)
ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7"
    "gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
    "fHx8fHx8fHz/yQARCAAQABADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD+8TCFIAdiOqKh3CKcjv8AISuwkWbv"
    "WXWXqdQ+ITXWdjYoBsD/2Q=="
)


def test_subsampling_unknown_to_the_strict_decoder_decodes_as_in_opencv() -> None:
    data = base64.b64decode(ODD_SAMPLING)
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(data)
    assert np.array_equal(decode(data, LIMITS).pixels, opencv(data))


def test_a_cut_or_a_hole_in_a_file_of_such_subsampling_is_found(capfd: pytest.CaptureFixture[str]) -> None:
    data = base64.b64decode(ODD_SAMPLING)
    start = data.index(b"\xff\xda") + 40
    assert refusal(data[: len(data) // 2]).code is ImageCode.TRUNCATED_IMAGE
    assert refusal(data[: len(data) // 2] + data[-2:]).code is ImageCode.TRUNCATED_IMAGE
    holed = data[:start] + b"\xff\xd3" * 20 + data[start + 40 :]
    assert refusal(holed).code in (ImageCode.CORRUPT_IMAGE, ImageCode.TRUNCATED_IMAGE)
    assert capfd.readouterr().err == "", "libjpeg's own lines would stand amid the log"


def test_an_arithmetic_coded_jpeg_decodes_as_in_opencv() -> None:
    data = base64.b64decode(ARITHMETIC)
    assert np.array_equal(decode(data, LIMITS).pixels, opencv(data))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", range(10))
def test_exif_orientation_is_applied_once_as_in_opencv(drawing: np.ndarray, number: int, order: str) -> None:
    data = with_exif(jpeg(drawing), tiff(number, order))
    assert np.array_equal(decode(data, LIMITS).pixels, opencv(data))


def test_random_exif_data_is_interpreted_as_in_opencv(drawing: np.ndarray, seeded: np.random.Generator) -> None:
    data, turned = jpeg(drawing), 0
    tags = [0x010E, 0x010F, 0x0112, 0x011A, 0x0128, 0x013E, 0x013F, 0x0211, 0x0214, 0x8298, 0x8769]
    for _ in range(300):
        order = "<>"[seeded.integers(2)]
        entries = b"".join(
            struct.pack(order + "HHII", *map(int, (seeded.choice(tags), seeded.integers(13), *sizes)))
            for sizes in seeded.choice([0, 1, 4, 8, 40, 2**32 - 1], (seeded.integers(4), 2))
        )
        exif = bytearray(tiff(int(seeded.integers(10)), order, entries) + bytes(seeded.integers(60)))
        if seeded.random() < 0.3:
            exif[seeded.integers(len(exif))] = seeded.integers(256)
        candidate = with_exif(data, bytes(exif[: seeded.integers(8, len(exif) + 1)] if seeded.random() < 0.2 else exif))
        result = decode(candidate, LIMITS).pixels
        turned += result.shape != drawing.shape
        assert np.array_equal(result, opencv(candidate)), candidate[:120].hex()
    assert turned > 30


def test_photographs_in_all_eight_orientations_come_out_upright(photographs: Path) -> None:
    for path in sorted((photographs / "orientation").glob("*.jpg")):
        data = path.read_bytes()
        result = decode(data, LIMITS).pixels
        assert result.shape[1] > result.shape[0], path.name
        assert np.array_equal(result, opencv(data)), path.name


def test_photographs_decode_to_opencvs_pixels(photographs: Path) -> None:
    for name in ("lund-01", "lund-14", "lund-29", "berlin-02"):
        data = (photographs / "street" / f"{name}.jpg").read_bytes()
        assert np.array_equal(decode(data, LIMITS).pixels, opencv(data)), name


@pytest.mark.parametrize("parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)])
def test_a_jpeg_cut_anywhere_is_refused_as_truncated(drawing: np.ndarray, parameters: tuple[int, ...]) -> None:
    data = jpeg(drawing, *parameters)
    for length in range(8, len(data), 13):
        assert refusal(data[:length]).code is ImageCode.TRUNCATED_IMAGE, length


@pytest.mark.parametrize("parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)])
@pytest.mark.parametrize("tail", [b"", b"\xff" * 64, b"\xff", b"\0" * 64 + b"\xff\xd9", b"\0" * 5000 + b"\xff\xd9"])
def test_only_padding_or_no_end_after_all_pixels_is_accepted(
    drawing: np.ndarray, tail: bytes, parameters: tuple[int, ...]
) -> None:
    data = jpeg(drawing, *parameters)
    assert np.array_equal(decode(data[:-2] + tail, LIMITS).pixels, opencv(data))


def test_a_progressive_jpeg_without_some_of_its_scans_is_truncated(drawing: np.ndarray) -> None:
    data = jpeg(drawing, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    assert len(scans) == 10
    for cut in scans[1:]:
        tables = data.rindex(b"\xff\xc4", 0, cut)  # those of the scan that is left out stand before it
        error = refusal(data[: tables if tables > scans[0] else cut] + b"\xff\xd9")
        assert error.code is ImageCode.TRUNCATED_IMAGE


def test_what_can_be_decoded_of_a_damaged_jpeg_is_kept_on_request(drawing: np.ndarray) -> None:
    data = jpeg(drawing)
    junk = data[:-2] + bytes(range(1, 65)) + data[-2:]
    kept = decode(junk, LIMITS, Decode(damaged="keep"))
    assert (kept.warnings, np.array_equal(kept.pixels, opencv(data))) == (("corrupt_image",), True)
    half = decode(data[: len(data) // 2], LIMITS, Decode(damaged="keep"))
    assert half.warnings == ("truncated_image",)
    assert np.array_equal(half.pixels[:8], opencv(data)[:8])
    assert decode(data, LIMITS, Decode(damaged="keep")).warnings == ()
    with pytest.raises(ImageError):
        decode(data[:100], LIMITS, Decode(damaged="keep"))


@pytest.mark.parametrize("gap", [b"\0" * 10, b"\x12" * 3, b"\xff\0\xff\0"])
def test_a_gap_in_the_header_changes_nothing(drawing: np.ndarray, gap: bytes) -> None:
    data = jpeg(drawing)
    at = data.index(b"\xff\xdb")
    assert np.array_equal(decode(data[:at] + gap + data[at:], LIMITS).pixels, opencv(data))


def test_a_segment_that_says_to_be_two_bytes_shorter_than_it_is_changes_nothing(drawing: np.ndarray) -> None:
    data = jpeg(drawing)
    at = data.index(b"\xff\xdb")
    packet = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    segment = b"\xff\xe1" + struct.pack(">H", len(packet)) + packet
    result = decode(data[:at] + segment + data[at:], LIMITS)
    assert np.array_equal(result.pixels, opencv(data))


def test_what_only_confuses_the_strict_decoder_changes_nothing(drawing: np.ndarray) -> None:
    data = bytearray(jpeg(drawing))
    data[data.index(b"JFIF") + 5] = 2  # an unknown version
    scan = data.index(b"\xff\xda")
    end = scan + 2 + data[scan + 3]
    data[end - 3 : end] = b"\0\0\0"  # a spectral selection that a sequential scan does not have
    assert np.array_equal(decode(bytes(data), LIMITS).pixels, opencv(bytes(data)))


def test_a_truncated_jpeg_with_an_end_marker_appended_is_refused(drawing: np.ndarray) -> None:
    data = jpeg(drawing)
    assert refusal(data[: len(data) // 2] + b"\xff\xd9").code is ImageCode.TRUNCATED_IMAGE


def test_bytes_after_the_end_of_a_jpeg_are_ignored(drawing: np.ndarray) -> None:
    data = jpeg(drawing)
    assert np.array_equal(decode(data + b"\0" * 100 + data, LIMITS).pixels, opencv(data))


@pytest.mark.parametrize("count", [11, 12, 64, 500])
def test_data_that_is_left_over_after_the_pixels_is_refused_as_corrupt(drawing: np.ndarray, count: int) -> None:
    data = jpeg(drawing)
    assert refusal(data[:-2] + b"\x55" * count + data[-2:]).code is ImageCode.CORRUPT_IMAGE


def cmyk(inks: np.ndarray) -> bytes:
    """Write CMYK as Pillow does: with Adobe's marker, and inverted."""
    file = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(file, "JPEG", quality=100)
    return file.getvalue()


def ycck(inks: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(255 - inks, 100, "CMYK", "444")


def four_corners() -> np.ndarray:
    """Draw red, green, blue and black in inks, 255 for all of it."""
    inks = np.zeros((48, 64, 4), np.uint8)
    inks[:24, :32] = (0, 255, 255, 0)
    inks[:24, 32:] = (255, 0, 255, 0)
    inks[24:, :32] = (255, 255, 0, 0)
    inks[24:, 32:] = (0, 0, 0, 255)
    return inks


@pytest.mark.parametrize("write", [cmyk, ycck])
def test_cmyk_and_ycck_show_the_colours_of_their_inks(write: Callable[[np.ndarray], bytes]) -> None:
    data = write(four_corners())
    result = decode(data, LIMITS)
    corners = result.pixels[[4, 4, -4, -4], [4, -4, 4, -4]][:, ::-1].astype(int)
    assert np.abs(corners - [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]).max() <= 3
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :, ::-1].astype(int)
    assert np.abs(result.pixels - expected).max() <= 1
    assert result.metadata.icc == b""
    assert result.warnings == ()


def test_cmyk_without_adobes_marker_is_not_inverted() -> None:
    marked = cmyk(four_corners())
    start = marked.index(b"\xff\xee")
    plain = marked[:start] + marked[start + 2 + int.from_bytes(marked[start + 2 : start + 4], "big") :]
    assert decode(plain, LIMITS).pixels[4, 4].max() <= 3, "no ink but black, which is all of it"


def test_cmyk_is_converted_by_the_profile_in_its_file() -> None:
    file = io.BytesIO()
    Image.fromarray(four_corners(), "CMYK").save(file, "JPEG", quality=100, icc_profile=press_profile())
    for params in (Decode(), Decode(metadata="none", profile="drop"), Decode(profile="srgb")):
        image = decode(file.getvalue(), LIMITS, params)
        red = image.pixels[4, 4].astype(int)
        assert (
            np.abs(red - normalise(four_corners()[4:5, 4:5], press_profile(), "CMYK", params).pixels[0, 0]).max() <= 3
        )
        assert red[2] < 230, "the press has no pure red"
        assert (image.metadata.icc, image.warnings) == (b"", ())


def test_cmyk_is_turned_upright() -> None:
    data = with_exif(cmyk(four_corners()), tiff(6))
    assert np.array_equal(decode(data, LIMITS).pixels, np.rot90(decode(cmyk(four_corners()), LIMITS).pixels, -1))


@pytest.mark.parametrize("write", [cmyk, ycck])
def test_a_damaged_cmyk_file_is_refused_as_any_other(write: Callable[[np.ndarray], bytes]) -> None:
    data = write(four_corners())
    padded = data[:-2] + bytes(50) + data[-2:]
    assert np.array_equal(decode(padded, LIMITS).pixels, decode(data, LIMITS).pixels)
    for length in range(8, len(data), 13):
        assert refusal(data[:length]).code is ImageCode.TRUNCATED_IMAGE, length
    assert refusal(data[: len(data) // 2] + b"\xff\xd9").code is ImageCode.TRUNCATED_IMAGE
    assert refusal(data[:-2] + b"\x55" * 500 + data[-2:]).code is ImageCode.CORRUPT_IMAGE


def test_a_jpeg_of_two_components_is_refused_with_its_own_code(drawing: np.ndarray) -> None:
    data = bytearray(jpeg(drawing[:, :, 0]))
    at = data.index(b"\xff\xc0")
    data[at + 9 : at + 13] = b"\x02" + data[at + 10 : at + 13]
    data[at + 2 : at + 4] = struct.pack(">H", 14)
    data[at + 13 : at + 13] = b"\x02\x11\0"
    assert refusal(bytes(data)).code is ImageCode.UNSUPPORTED_COLORSPACE


def test_a_jpeg_with_thousands_of_scans_is_refused_undecoded(drawing: np.ndarray) -> None:
    data = bytearray(jpeg(drawing, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = struct.pack(">HH", 6_000, 8_000)
    start = read_header(bytes(data)).data_start - 14
    bomb = bytes(data[:start]) + bytes(data[start:-2]) * 20 + bytes(data[-2:])
    assert "scans over 8000x6000 pixels" in refusal(bomb).message


def test_a_file_that_declares_too_many_pixels_is_refused_undecoded(
    drawing: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Callable[..., None]:
        raise AssertionError("decoded")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", never)
    monkeypatch.setattr(cv2, "imdecode", never)
    data = bytearray(jpeg(drawing))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    error = refusal(bytes(data))
    assert error.code is ImageCode.TOO_MANY_PIXELS
    assert "65000x65000 = 4225000000 pixels; accepted are up to 150000000 (PENSTOCK_MAX_PIXELS)" in error.message


def test_limits_are_checked_in_order_and_errors_name_what_is_accepted(drawing: np.ndarray) -> None:
    data = jpeg(drawing)
    assert refusal(b"").code is ImageCode.EMPTY_FILE
    assert refusal(b"x" * 20, Limits(max_file_bytes=10)).code is ImageCode.TOO_LARGE_FILE
    assert refusal(b"x" * 20).code is ImageCode.UNSUPPORTED_TYPE
    assert refusal(data, Limits(max_pixels=96 * 72 - 1)).code is ImageCode.TOO_MANY_PIXELS
    assert "sides of up to 95" in refusal(data, Limits(max_side=95)).message
    assert decode(data, Limits(max_pixels=96 * 72, max_side=96)).pixels.shape == (72, 96, 3)


@pytest.mark.parametrize("parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_damaged_jpegs_decode_as_in_opencv_or_are_refused(
    drawing: np.ndarray, seeded: np.random.Generator, parameters: tuple[int, ...]
) -> None:
    data, decoded = jpeg(drawing, *parameters), 0
    for _ in range(400):
        damaged = bytearray(data)
        for at in seeded.integers(3, len(data), seeded.integers(1, 4)):
            damaged[at] = seeded.integers(256)
        try:
            result = decode(bytes(damaged), LIMITS).pixels
        except ImageError:
            continue
        decoded += 1
        assert np.array_equal(result, opencv(bytes(damaged)))
    assert 0 < decoded < 400
