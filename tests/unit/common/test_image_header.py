"""Image headers: types, sizes, orientation, and damaged files."""

from __future__ import annotations

import struct

import pytest

from penstock.common.image_header import MAX_SEGMENTS, image_type, read_header
from penstock.common.model.errors import ImageCode, ImageError

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def frame(width: int = 4, height: int = 3, components: int = 3, marker: int = 0xC0, precision: int = 8) -> bytes:
    size = struct.pack(">BHHB", precision, height, width, components)
    return segment(marker, size + b"\1\x11\0" * components)


def scan(components: int = 3) -> bytes:
    return segment(0xDA, bytes([components]) + b"\1\0" * components + b"\0\x3f\0")


def jpeg(*before: bytes, head: bytes | None = None, components: int = 3) -> bytes:
    return SOI + b"".join(before) + (frame(components=components) if head is None else head) + scan(components) + EOI


def png(width: int = 4, height: int = 3, depth: int = 8, colour: int = 2, methods: bytes = b"\0\0\0") -> bytes:
    content = struct.pack(">IIBB", width, height, depth, colour) + methods
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + content + b"\0\0\0\0"


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as refused:
        read_header(data)
    return refused.value


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JF", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\x89PNG\n\x1a\n", None),
        (b"GIF89a..", None),
        (b"\xff\xd8", None),
        (b"", None),
    ],
)
def test_the_type_follows_from_the_first_bytes(head: bytes, expected: str | None) -> None:
    assert image_type(head) == expected


def test_other_types_are_refused_by_name_and_unknown_ones_by_their_bytes() -> None:
    error = refusal(b"GIF89a and so on")
    assert error.code is ImageCode.UNSUPPORTED_TYPE
    assert "the file is GIF, which" in error.message
    assert "begins with 01 02 03 04" in refusal(b"\1\2\3\4\5\6\7\0").message


def test_a_png_header_gives_size_depth_and_components() -> None:
    header = read_header(png(640, 480, 16, 6))
    assert (header.type, header.width, header.height) == ("png", 640, 480)
    assert (header.bit_depth, header.components, header.orientation) == (16, 4, 1)


@pytest.mark.parametrize(
    "data",
    [
        *(png(0, 3), png(4, 0), png(2**31, 1)),
        *(png(depth=3), png(colour=1), png(colour=5), png(depth=16, colour=3)),
        *(png(methods=b"\1\0\0"), png(methods=b"\0\1\0"), png(methods=b"\0\0\2")),
        png().replace(b"IHDR", b"CgBI"),
    ],
)
def test_a_png_header_with_impossible_values_is_corrupt(data: bytes) -> None:
    assert refusal(data).code is ImageCode.CORRUPT_IMAGE


def test_a_jpeg_header_gives_size_and_components() -> None:
    header = read_header(jpeg(head=frame(640, 480, 1), components=1))
    assert (header.type, header.width, header.height, header.components) == ("jpeg", 640, 480, 1)


def test_a_file_that_ends_within_its_header_is_truncated() -> None:
    for whole in (jpeg(segment(0xE0, b"JFIF\0" + bytes(9)), components=3)[:-2], png()):
        codes = {refusal(whole[:length]).code for length in range(8, len(whole))}
        assert codes == {ImageCode.TRUNCATED_IMAGE}


def test_fill_bytes_and_parameterless_markers_between_segments_are_skipped() -> None:
    assert read_header(jpeg(b"\xff\xff\xff", segment(0xFE, b"hello"), b"\xff\xff\x01")).width == 4


def test_bytes_between_segments_are_passed_over_as_libjpeg_does() -> None:
    assert read_header(jpeg(segment(0xFE, b"hello") + b"junk")).width == 4


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (jpeg(frame()), ImageCode.CORRUPT_IMAGE),
        (jpeg(head=b""), ImageCode.CORRUPT_IMAGE),
        (jpeg(SOI), ImageCode.CORRUPT_IMAGE),
        (SOI + segment(0xFE, b"") + EOI, ImageCode.CORRUPT_IMAGE),
        (jpeg(b"\xff\xe0\0\1"), ImageCode.CORRUPT_IMAGE),
        (jpeg(head=frame(width=0)), ImageCode.CORRUPT_IMAGE),
        (jpeg(head=frame(height=0)), ImageCode.CORRUPT_IMAGE),
        (jpeg(head=frame(components=0)), ImageCode.CORRUPT_IMAGE),
        (jpeg(head=segment(0xC0, b"\x08\0\1")), ImageCode.CORRUPT_IMAGE),
        (jpeg(head=frame(precision=12, marker=0xC1)), ImageCode.UNSUPPORTED_TYPE),
        (jpeg(head=frame(marker=0xC3)), ImageCode.UNSUPPORTED_TYPE),
        (jpeg(head=frame(marker=0xC5)), ImageCode.UNSUPPORTED_TYPE),
    ],
)
def test_an_invalid_jpeg_header_is_refused_with_its_code(data: bytes, code: ImageCode) -> None:
    assert refusal(data).code is code


def test_progressive_jpegs_have_several_scans() -> None:
    assert read_header(jpeg()).scans == "one"
    assert read_header(jpeg(head=frame(marker=0xC2))).scans == "several"
    assert read_header(SOI + frame() + scan(1)).scans == "several"


def test_too_many_segments_are_refused() -> None:
    most = [segment(0xFE, b"")] * (MAX_SEGMENTS - 2)
    assert read_header(jpeg(*most)).width == 4
    assert str(MAX_SEGMENTS) in refusal(jpeg(*most, segment(0xFE, b"") * 1_000)).message


def test_a_file_of_fill_bytes_only_is_truncated() -> None:
    assert refusal(SOI + b"\xff" * 1_000_000).code is ImageCode.TRUNCATED_IMAGE


def exif(number: int, order: str = "<", magic: int = 42, extra: bytes = b"") -> bytes:
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, number, 0)
    mark = b"II" if order == "<" else b"MM"
    directory = struct.pack(order + "H", 1 + len(extra) // 12) + extra + entry
    return segment(0xE1, b"Exif\0\0" + mark + struct.pack(order + "HI", magic, 8) + directory)


XMP = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
LEADS_OUT = struct.pack("<HHII", 0x010F, 2, 100, 5_000)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(number: int, order: str) -> None:
    assert read_header(jpeg(exif(number, order))).orientation == number


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([exif(0)], 1),
        ([exif(9)], 1),
        ([exif(65_535, ">")], 1),
        ([exif(6, magic=43)], 1),
        ([exif(6)[:-12]], 1),
        ([exif(6, extra=LEADS_OUT)], 1),
        ([XMP, exif(6)], 6),
        ([exif(6), exif(3)], 6),
        ([exif(9), exif(3)], 1),
        ([exif(6).replace(b"Exif", b"exif"), exif(3)], 3),
        ([exif(6, magic=43), exif(3)], 3),
    ],
)
def test_the_first_readable_orientation_is_used_and_invalid_ones_are_ignored(
    before: list[bytes], expected: int
) -> None:
    lengths = [segment(0xE1, item[4:]) for item in before]  # a cut segment keeps its original length
    assert read_header(jpeg(*lengths)).orientation == expected


def test_an_orientation_after_the_first_scan_is_ignored() -> None:
    assert read_header(jpeg()[:-2] + exif(6) + EOI).orientation == 1
