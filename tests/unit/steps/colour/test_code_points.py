from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from icc_profiles import ADOBE_RGB, DISPLAY_P3, gamma, rgb_profile, srgb_curve
from PIL import Image, ImageCms

from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.colour.normalise import normalise
from penstock.steps.decode import decode

LIMITS = Limits()
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
TO_SRGB = Decode(profile="srgb")
Chunk = Callable[..., bytes]


def png(png_file: type[Any], *before: bytes) -> bytes:
    return png_file(40, 30).build(before=before)


def converted(data: bytes, profile: bytes) -> np.ndarray:
    """Return the pixels of a file as the sRGB that an ICC profile makes of them."""
    return normalise(decode(data, LIMITS, Decode(profile="drop")).pixels, profile, "RGB", TO_SRGB).pixels


@pytest.mark.parametrize(
    ("code_points", "expected"),
    [
        ((12, 13), rgb_profile(DISPLAY_P3, srgb_curve())),
        ((12, 1), rgb_profile(DISPLAY_P3, srgb_curve())),
        ((9, 4), rgb_profile(BT2020, gamma(2.2))),
        ((9, 5), rgb_profile(BT2020, gamma(2.8))),
        ((12, 8), rgb_profile(DISPLAY_P3, gamma(1.0))),
    ],
)
def test_code_points_of_a_png_count_as_a_profile(
    png_file: type[Any], png_chunk: Chunk, code_points: tuple[int, int], expected: bytes
) -> None:
    data = png(png_file, png_chunk(b"cICP", bytes((*code_points, 0, 1))))
    kept = decode(data, LIMITS)
    assert np.array_equal(kept.pixels, decode(data, LIMITS, Decode(profile="drop")).pixels)
    difference = converted(data, kept.metadata.icc).astype(int) - converted(data, expected)
    assert np.abs(difference).max() <= 2
    assert np.abs(difference).mean() < 0.1
    assert not np.array_equal(kept.pixels, converted(data, expected))
    assert np.array_equal(decode(data, LIMITS, TO_SRGB).pixels, converted(data, kept.metadata.icc))


def test_the_profile_says_what_it_is(png_file: type[Any], png_chunk: Chunk) -> None:
    profile = decode(png(png_file, png_chunk(b"cICP", b"\x0c\x0d\0\1")), LIMITS).metadata.icc
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    assert ImageCms.getProfileDescription(opened).strip() == "Display P3"


@pytest.mark.parametrize("code_points", [(1, 13), (2, 2), (12, 99), (200, 13)])
def test_code_points_of_srgb_and_unknown_ones_make_no_profile(
    png_file: type[Any], png_chunk: Chunk, code_points: tuple[int, int]
) -> None:
    image = decode(png(png_file, png_chunk(b"cICP", bytes((*code_points, 0, 1)))), LIMITS)
    assert (image.metadata.icc, image.warnings) == (b"", ())


@pytest.mark.parametrize("transfer", [16, 18])
def test_colours_of_hdr_are_dropped_with_a_warning(png_file: type[Any], png_chunk: Chunk, transfer: int) -> None:
    data = png(png_file, png_chunk(b"cICP", bytes((9, transfer, 0, 1))))
    image = decode(data, LIMITS)
    assert (image.metadata.icc, image.warnings) == (b"", ("hdr_dropped",))
    assert decode(data, LIMITS, Decode(profile="drop")).warnings == ()


def test_damaged_code_points_are_ignored(png_file: type[Any], png_chunk: Chunk) -> None:
    for item in (png_chunk(b"cICP", b"\x0c\x0d\0\1", checksum=1), png_chunk(b"cICP", b"\x0c")):
        assert decode(png(png_file, item), LIMITS).metadata.icc == b""


def test_a_profile_in_the_file_counts_more_than_code_points(drawing: np.ndarray, png_chunk: Chunk) -> None:
    profile = rgb_profile(BT2020, gamma(2.2))
    file = io.BytesIO()
    Image.fromarray(drawing).save(file, "PNG", icc_profile=profile)
    data = file.getvalue()
    both = data[:33] + png_chunk(b"cICP", b"\x0c\x0d\0\1") + data[33:]
    assert decode(both, LIMITS).metadata.icc == profile


def test_code_points_of_an_avif_count_as_a_profile(drawing: np.ndarray) -> None:
    data = cv2.imencode(".avif", drawing)[1].tobytes()
    at = data.index(b"colrnclx") + len(b"colrnclx")
    wide = data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]
    assert decode(data, LIMITS).metadata.icc == b""
    image = decode(wide, LIMITS)
    assert np.array_equal(image.pixels, decode(data, LIMITS).pixels)
    difference = converted(data, image.metadata.icc).astype(int) - converted(
        data, rgb_profile(DISPLAY_P3, srgb_curve())
    )
    assert np.abs(difference).max() <= 1


def with_index(data: bytes, index: bytes, order: str = "<") -> bytes:
    """Return a JPEG file with EXIF that has nothing but an interoperability index."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    to_exif = struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    to_interop = struct.pack(order + "HHHIII", 1, 0xA005, 4, 1, 44, 0)
    interop = struct.pack(order + "HHHI4sI", 1, 1, 2, 4, index, 0)
    content = b"Exif\0\0" + head + to_exif + to_interop + interop
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_camera_that_marks_adobe_rgb_in_exif_has_its_colours_kept(drawing: np.ndarray, order: str) -> None:
    plain = cv2.imencode(".jpg", drawing)[1].tobytes()
    marked = with_index(plain, b"R03\0", order)
    expected = rgb_profile(ADOBE_RGB, gamma(563 / 256))
    for metadata in ("all", "none"):
        image = decode(marked, LIMITS, Decode(metadata=metadata))  # type: ignore[arg-type]
        assert np.array_equal(image.pixels, decode(plain, LIMITS).pixels)
        difference = converted(plain, image.metadata.icc).astype(int) - converted(plain, expected)
        assert np.abs(difference).max() <= 1
        assert image.warnings == ()
    assert np.array_equal(decode(marked, LIMITS, TO_SRGB).pixels, converted(plain, image.metadata.icc))
    assert decode(marked, LIMITS, Decode(profile="drop")).metadata.icc == b""


def test_other_indices_and_their_letters_elsewhere_make_no_profile(drawing: np.ndarray) -> None:
    plain = cv2.imencode(".jpg", drawing)[1].tobytes()
    comment = plain[:2] + b"\xff\xfe\0\x06R03\0" + plain[2:]
    for data in (with_index(plain, b"R98\0"), comment, with_index(comment, b"R98\0")):
        assert decode(data, LIMITS).metadata.icc == b""
