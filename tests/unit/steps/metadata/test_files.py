"""Metadata in files of each type: found as Pillow writes them, and written so that Pillow finds them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from camera_files import (
    PLACE,
    PROFILE,
    exif,
    photograph,
    read_exif,
    read_info,
    record,
    resource,
    segment,
    with_segments,
    xmp,
)
from PIL import Image as PillowImage

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageError
from penstock.common.model.operations import Decode, Encode
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode
from penstock.steps.image import Image, Metadata
from penstock.steps.metadata.isobmff import find_in_isobmff
from penstock.steps.metadata.jpeg import find_in_jpeg
from penstock.steps.metadata.png import find_in_png
from penstock.steps.metadata.read import read_metadata
from penstock.steps.metadata.tiff import find_in_tiff
from penstock.steps.metadata.webp import find_in_webp

PACKET = xmp('dc:source="Delft"', namespaces={"dc": "http://purl.org/dc/elements/1.1/"})
CITY = record(90, b"Delft")
LARGE_PROFILE = (
    (200_000).to_bytes(4, "big")
    + bytes(12)
    + b"RGB "
    + bytes(16)
    + b"acsp"
    + np.random.default_rng(1).bytes(200_000 - 40)
)


@pytest.mark.parametrize(
    ("form", "find"),
    [
        ("JPEG", find_in_jpeg),
        ("PNG", find_in_png),
        ("WEBP", find_in_webp),
        ("TIFF", find_in_tiff),
        ("AVIF", find_in_isobmff),
    ],
)
def test_what_pillow_writes_is_found(form: str, find: Callable[[bytes], Metadata], drawing: np.ndarray) -> None:
    data = photograph(form, drawing, exif=exif(), icc_profile=PROFILE, xmp=PACKET)
    found = find(data)
    assert read_exif(found.exif)["gps"] == PLACE
    assert found.icc == PROFILE
    assert found.xmp.strip() == PACKET.strip() or form == "TIFF"


def test_iptc_and_xmp_of_a_tiff_are_found(drawing: np.ndarray) -> None:
    file = io.BytesIO()
    tags = [
        (700, "B", len(PACKET), PACKET, True),
        (33723, "B", len(CITY), CITY, True),
        (34675, "B", len(PROFILE), PROFILE, True),
    ]
    tifffile.imwrite(file, drawing, bigtiff=True, extratags=tags)
    found = find_in_tiff(file.getvalue())
    assert (found.xmp, found.iptc, found.icc) == (PACKET, CITY, PROFILE)


def test_a_profile_in_many_pieces_is_found_in_any_order(drawing: np.ndarray) -> None:
    pieces = [LARGE_PROFILE[start : start + 50_000] for start in range(0, 200_000, 50_000)]
    segments = [segment(0xE2, b"ICC_PROFILE\0" + bytes([index + 1, 4]) + piece) for index, piece in enumerate(pieces)]
    data = photograph("JPEG", drawing)
    assert find_in_jpeg(with_segments(data, *segments[::-1])).icc == LARGE_PROFILE
    assert len(find_in_jpeg(with_segments(data, *segments[1:])).icc) == 2
    assert len(find_in_jpeg(with_segments(data, *segments, segments[0])).icc) == 2


def test_iptc_in_two_segments_of_a_jpeg_is_found(drawing: np.ndarray) -> None:
    whole = resource(b"x" * 60_001, 0x0425) + resource(CITY * 2_000)
    segments = [segment(0xED, b"Photoshop 3.0\0" + part) for part in (whole[:65_000], whole[65_000:])]
    assert find_in_jpeg(with_segments(photograph("JPEG", drawing), *segments)).iptc == CITY * 2_000


def test_the_first_exif_and_xmp_of_a_jpeg_count(drawing: np.ndarray) -> None:
    segments = [segment(0xE1, b"Exif\0\0" + content) for content in (b"one", b"two")]
    segments += [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + content) for content in (b"one", b"two")]
    segments += [segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40))]
    found = find_in_jpeg(with_segments(photograph("JPEG", drawing), *segments))
    assert (found.exif, found.xmp) == (b"one", b"one")


@pytest.mark.parametrize("kind", ["iptc", "exif", "APP1", "xmp"])
@pytest.mark.parametrize("compressed", [True, False])
def test_raw_profiles_of_imagemagick_are_found(
    png_file: Any, png_chunk: Callable[..., bytes], kind: str, compressed: bool
) -> None:
    content = {"iptc": resource(CITY), "exif": b"Exif\0\0" + exif(), "APP1": b"Exif\0\0" + exif(), "xmp": PACKET}[kind]
    text = f"\n{kind}\n{len(content):8}\n{content.hex(chr(10), 36)}\n".encode()
    keyword = f"Raw profile type {kind}\0".encode()
    stored = (
        png_chunk(b"zTXt", keyword + b"\0" + zlib.compress(text)) if compressed else png_chunk(b"tEXt", keyword + text)
    )
    found = find_in_png(png_file(4, 4).build(before=[stored]))
    assert (found.iptc, found.exif, found.xmp) == {
        "iptc": (CITY, b"", b""),
        "exif": (b"", exif(), b""),
        "APP1": (b"", exif(), b""),
        "xmp": (b"", b"", PACKET),
    }[kind]


@pytest.mark.parametrize("compressed", [True, False])
def test_xmp_in_either_form_of_a_text_is_found(
    png_file: Any, png_chunk: Callable[..., bytes], compressed: bool
) -> None:
    text = zlib.compress(PACKET) if compressed else PACKET
    content = b"XML:com.adobe.xmp\0" + bytes([compressed, 0]) + b"en\0translated\0" + text
    assert find_in_png(png_file(4, 4).build(after=[png_chunk(b"iTXt", content)])).xmp == PACKET


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"iCCP", b"icc\0\0" + zlib.compress(bytes(100_000_000))),
        (b"iCCP", b"icc\0\0not deflated"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b" " * 100_000_000)),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 1\n" + b"00" * 20_000_000)),
        (b"tEXt", b"Raw profile type iptc\0\niptc\n 1\nno hexadecimal"),
        (b"tEXt", b"Raw profile type iptc\0"),
        (b"eXIf", b""),
    ],
)
def test_bombs_and_damage_in_a_png_are_dropped_with_a_warning(
    png_file: Any, png_chunk: Callable[..., bytes], kind: bytes, content: bytes
) -> None:
    image = decode(png_file(4, 4).build(before=[png_chunk(kind, content)]), Limits())
    assert image.metadata == Metadata("png", 4, 4)
    assert image.warnings == (("profile_invalid",) if kind == b"iCCP" else ("metadata_dropped",))


def test_a_chunk_with_a_wrong_checksum_is_dropped_with_a_warning(
    png_file: Any, png_chunk: Callable[..., bytes]
) -> None:
    image = decode(png_file(4, 4).build(after=[png_chunk(b"eXIf", exif(), 1)]), Limits())
    assert (image.metadata.exif, image.warnings) == (b"", ("metadata_dropped",))


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_pillow_finds_what_a_result_carries(form: str, drawing: np.ndarray) -> None:
    source = photograph("JPEG", drawing, exif=exif(), xmp=PACKET, icc_profile=PROFILE, iptc=CITY)
    image = decode(source, Limits())
    assert image.warnings == ()
    found = read_info(encode(image, Encode(format=form)))  # type: ignore[arg-type]
    assert read_exif(found["exif"])["gps"] == PLACE
    assert found["icc_profile"] == PROFILE
    assert b"Delft" in (found["xmp"] if isinstance(found["xmp"], bytes) else found["xmp"].encode())
    if form == "jpg":
        assert found["iptc"][2, 90] == b"Delft"
    else:
        assert find_in_png(encode(image, Encode(format="png"))).iptc == CITY


def test_a_large_profile_is_carried_in_pieces(drawing: np.ndarray) -> None:
    metadata = Metadata("jpeg", 96, 72, icc=LARGE_PROFILE)
    for form in ("jpg", "png"):
        data = encode(Image(drawing, metadata), Encode(format=form))  # type: ignore[arg-type]
        assert read_info(data)["icc_profile"] == LARGE_PROFILE


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_all_else_of_a_file_is_as_without_metadata(form: str, drawing: np.ndarray) -> None:
    params = Encode(format=form)  # type: ignore[arg-type]
    metadata = Metadata("jpeg", 96, 72, exif(), PACKET, CITY, PROFILE)
    bare, full = encode(Image(drawing), params), encode(Image(drawing, metadata), params)
    assert len(full) > len(bare) + len(PROFILE) / 2
    start = 20 if form == "jpg" else 33
    assert full.startswith(bare[:start])
    assert full.endswith(bare[start:])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_result_without_metadata_is_as_before_metadata_were_carried(form: str, drawing: np.ndarray) -> None:
    data = photograph(form, drawing, exif=exif(), xmp=PACKET, icc_profile=PROFILE)
    image = decode(data, Limits(), Decode(metadata="none", profile="drop"))
    assert image.metadata == Metadata(form.lower(), 96, 72)
    for output in (Encode(), Encode(format="png")):
        assert encode(image, output) == encode(Image(image.pixels), output)


def test_metadata_of_a_webp_are_carried(drawing: np.ndarray) -> None:
    data = photograph("WEBP", drawing, exif=exif(), xmp=PACKET, icc_profile=PROFILE)
    found = read_info(encode(decode(data, Limits()), Encode()))
    assert read_exif(found["exif"])["gps"] == PLACE
    assert found["icc_profile"] == PROFILE


def box(kind: bytes, *contents: bytes) -> bytes:
    """Return a box of an AVIF or HEIC file."""
    content = b"".join(contents)
    return struct.pack(">I", 8 + len(content)) + kind + content


def items(locations: bytes, version: int = 1) -> bytes:
    """Return an AVIF file with an item for EXIF, 3, and one for XMP, 4; `locations` is the rest of `iloc`."""
    names = [box(b"infe", b"\2\0\0\0", struct.pack(">HH", 3, 0), b"Exif\0")]
    names += [box(b"infe", b"\2\0\0\0", struct.pack(">HH", 4, 0), b"mime", b"x\0application/rdf+xml\0")]
    size = box(b"ispe", bytes(4), struct.pack(">II", 4, 4))
    profile = box(b"colr", b"prof", PROFILE)
    association = bytes(4) + struct.pack(">IHBBB", 1, 1, 2, 1, 2)
    meta = (
        bytes(4),
        box(b"pitm", bytes(4), b"\0\1"),
        box(b"iinf", bytes(4), b"\0\2", *names),
        box(b"iloc", bytes([version, 0, 0, 0]), locations),
        box(b"iprp", box(b"ipco", size, profile), box(b"ipma", association)),
        box(b"idat", b"--", b"\0\0\0\6Exif\0\0", exif(), PACKET),
    )
    return box(b"ftyp", b"avif", bytes(4), b"avif") + box(b"meta", *meta)


def test_items_of_an_avif_in_pieces_beside_their_description_are_found() -> None:
    """As Pillow does not write them: offsets from a base, in several extents, with indices."""
    first = struct.pack(">HHHHH", 3, 1, 0, 2, 2) + struct.pack(">BHHBHH", 0, 0, 30, 0, 30, len(exif()) - 20)
    second = struct.pack(">HHHHH", 4, 1, 0, 2 + 10 + len(exif()), 1) + struct.pack(">BHH", 0, 0, len(PACKET))
    found = find_in_isobmff(items(struct.pack(">HH", 0x2221, 2) + first + second))
    assert (found.exif, found.xmp, found.icc) == (exif(), PACKET, PROFILE)


@pytest.mark.parametrize(
    "locations",
    [
        struct.pack(">HHHHHH", 0x4400, 1, 3, 1, 0, 60_000) + struct.pack(">II", 0, 0xFFFFFFFF) * 60_000,
        struct.pack(">HHHHHHII", 0x4400, 1, 3, 1, 0, 1, 0, 0),
        struct.pack(">HHHHHHII", 0x4400, 1, 3, 2, 0, 1, 0, 9),
    ],
    ids=["endless", "empty", "elsewhere"],
)
def test_items_that_are_endless_or_nowhere_are_damaged(locations: bytes) -> None:
    data = items(locations)
    metadata, warnings = read_metadata(data, read_header(data), Decode())
    assert (metadata.exif, metadata.icc, warnings) == (b"", PROFILE, ("metadata_dropped",))


@pytest.mark.parametrize(
    "locations", [b"", struct.pack(">HH", 0x4400, 50_000), struct.pack(">HHHHHHI", 17_408, 1, 3, 1, 0, 1, 0)]
)
def test_locations_that_are_cut_off_lose_metadata_and_no_pixel(locations: bytes) -> None:
    data = items(locations)
    assert read_metadata(data, read_header(data), Decode()) == (Metadata("avif"), ("metadata_dropped",))


def test_a_profile_larger_than_the_limit_is_dropped_with_a_warning(drawing: np.ndarray) -> None:
    """The most that a JPEG file can hold is 16 MB."""
    piece = bytes(65_519)
    first = (255 * len(piece)).to_bytes(4, "big") + bytes(32) + b"acsp"
    segments = [
        segment(
            0xE2, b"ICC_PROFILE\0" + bytes([index, 255]) + (first.ljust(len(piece), b"\0") if index == 1 else piece)
        )
        for index in range(1, 256)
    ]
    data = with_segments(photograph("JPEG", drawing, exif=exif()), *segments)
    image = decode(data, Limits())
    assert (image.metadata.icc, image.warnings) == (b"", ("profile_invalid",))
    assert read_exif(image.metadata.exif)["gps"] == PLACE


def test_the_header_of_a_file_with_metadata_is_read(drawing: np.ndarray) -> None:
    data = photograph("JPEG", drawing, exif=exif(image={0x0112: 6}))
    assert read_header(data).orientation == 6
    image = decode(data, Limits())
    with PillowImage.open(io.BytesIO(encode(image, Encode()))) as result:
        assert result.size == (72, 96)
        assert result.getexif()[0x0112] == 1
        assert result.getexif().get_ifd(0x8769)[0xA002] == 72


def test_a_damaged_profile_never_fails_a_jpeg(drawing: np.ndarray) -> None:
    """libjpeg-turbo warns of it as it does of damaged pixels."""
    plain = photograph("JPEG", drawing)
    piece = segment(0xE2, b"ICC_PROFILE\0\2\1" + PROFILE)
    image = decode(with_segments(plain, segment(0xE1, b"Exif\0\0" + exif()), piece), Limits())
    assert np.array_equal(image.pixels, decode(plain, Limits()).pixels)
    assert (image.metadata.icc, image.warnings) == (b"", ("profile_invalid",))
    assert read_exif(image.metadata.exif)["gps"] == PLACE


def test_damaged_pixels_behind_a_damaged_profile_are_still_found(drawing: np.ndarray) -> None:
    plain = photograph("JPEG", drawing)
    damaged = with_segments(plain[:-40] + plain[-2:], segment(0xE2, b"ICC_PROFILE\0\2\1" + PROFILE))
    with pytest.raises(ImageError):
        decode(damaged, Limits())


def test_of_many_chunks_with_metadata_only_some_are_inflated(png_file: Any, png_chunk: Callable[..., bytes]) -> None:
    """Each of them takes a hundredth of a second, and a file has room for thousands."""
    bomb = png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(4_000_000)))
    image = decode(png_file(4, 4).build(before=[bomb] * 5_000, after=[png_chunk(b"eXIf", exif())]), Limits())
    assert image.metadata == Metadata("png", 4, 4)
    assert image.warnings == ("profile_invalid",)
