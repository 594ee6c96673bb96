"""Damaged metadata in thousands of forms: nothing fails, nothing grows, and what is kept can still be written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from camera_files import PROFILE, exif, panorama, photograph, record, resource, segment, with_segments, xmp

from penstock.common.headers.base import Header
from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageError
from penstock.common.model.operations import Decode, Encode
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode
from penstock.steps.image import Image, Metadata
from penstock.steps.metadata import exif as exif_module
from penstock.steps.metadata import icc, iptc
from penstock.steps.metadata import xmp as xmp_module
from penstock.steps.metadata.iptc import find_iptc
from penstock.steps.metadata.read import clean_metadata, read_metadata
from penstock.steps.metadata.tiff import find_in_tiff
from penstock.steps.transform import scaling

TIMES = 150
EXIF = exif(image={0x0112: 6, 0x8298: "owner"}, exif={0xA005: {1: "R98"}, 0x927C: b"notes" * 20})
RECORDS = record(90, b"\x1b%G", 1) + record(90, b"Delft") + record(120, b"Canal")
PACKET = xmp(
    'dc:source="a" exif:PixelXDimension="96" exif:GPSLatitude="52,0.696N"',
    "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Delft</rdf:li></rdf:Alt></dc:title>",
    {"dc": "http://purl.org/dc/elements/1.1/", "exif": "http://ns.adobe.com/exif/1.0/"},
)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Return data with bytes changed, a piece cut out, doubled or set to its extremes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(0, max(1, len(changed))))
        length = int(random.integers(1, 9))
        choice = random.integers(0, 5)
        if choice == 0:
            changed[at : at + length] = random.bytes(length)
        elif choice == 1:
            del changed[at : at + length]
        elif choice == 2:
            changed[at:at] = changed[at : at + 40 * length]
        elif choice == 3:
            changed[at : at + length] = (b"\xff" if length % 2 else b"\0") * len(changed[at : at + length])
        else:
            del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize(
    ("field", "original"),
    [("exif", EXIF), ("xmp", PACKET), ("xmp", panorama(96, 72)), ("iptc", RECORDS), ("icc", PROFILE)],
)
@pytest.mark.parametrize("keep", ["all", "geo"])
def test_mutated_metadata_are_kept_or_dropped_and_nothing_fails(
    field: str, original: bytes, keep: str, drawing: np.ndarray, seeded: np.random.Generator
) -> None:
    header, params = Header("jpeg", 96, 72, 3), Decode(metadata=keep)  # type: ignore[arg-type]
    kept = 0
    for _ in range(TIMES):
        found = Metadata(**{field: mutated(original, seeded)})  # type: ignore[arg-type]
        cleaned, _ = clean_metadata(found, header, params)
        again, no_warnings = clean_metadata(cleaned, header, params)
        assert (again, no_warnings) == (cleaned, ())
        assert len(cleaned.exif) <= exif_module.MAX_BYTES
        assert len(cleaned.xmp) <= xmp_module.MAX_BYTES
        assert len(cleaned.iptc) <= iptc.MAX_BYTES
        assert len(cleaned.icc) <= icc.MAX_BYTES
        kept += bool(getattr(cleaned, field))
        image = Image(drawing[::2, ::2], cleaned, scaling(0.5, 0.5))
        for output in (Encode(), Encode(format="png")):
            assert encode(image, output)
    assert kept > 0


@pytest.mark.parametrize("original", [EXIF, PACKET, RECORDS])
def test_mutated_metadata_that_a_program_hands_back_never_fail_a_result(
    original: bytes, drawing: np.ndarray, seeded: np.random.Generator
) -> None:
    for _ in range(TIMES):
        damaged = mutated(original, seeded)
        image = Image(drawing, Metadata("jpeg", 96, 72, damaged, damaged, damaged, damaged), scaling(0.5, 0.5))
        assert decode(encode(image, Encode()), Limits()).pixels.shape == drawing.shape
        assert decode(encode(image, Encode(format="png")), Limits()).pixels.shape == drawing.shape


def jpeg_segments(drawing: np.ndarray) -> tuple[bytes, bytes]:
    """Return a JPEG file's head with every kind of metadata, and its rest."""
    plain = photograph("JPEG", drawing)
    head = b"".join(
        (
            segment(0xE1, b"Exif\0\0" + EXIF),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET),
            segment(0xED, b"Photoshop 3.0\0" + resource(RECORDS)),
            segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE),
        )
    )
    return with_segments(plain, head)[: len(head) + 20], plain[20:]


def test_mutated_segments_change_no_pixel_of_an_image_that_is_read(
    drawing: np.ndarray, seeded: np.random.Generator
) -> None:
    """Inside of the segments: their markers and lengths are the header's business."""
    head, rest = jpeg_segments(drawing)
    expected = decode(head + rest, Limits(), Decode(metadata="none")).pixels.shape[:2]
    starts = [head.index(mark) + len(mark) for mark in (b"Exif\0\0", b"xap/1.0/\0", b"Photoshop 3.0\0", b"ICC_PROFILE")]
    for _ in range(TIMES):
        start = int(seeded.choice(starts))
        changed = bytearray(head)
        for at in seeded.integers(start, min(start + 150, len(head)), 4):
            if not any(mark - 40 <= at < mark for mark in starts if mark != start):
                changed[at] = seeded.integers(0, 256)
        image = decode(bytes(changed) + rest, Limits())
        assert sorted(image.pixels.shape[:2]) == sorted(expected)


@pytest.mark.parametrize("find", [find_in_tiff, find_iptc])
def test_finders_raise_nothing_but_value_errors(find: Callable[[bytes], object], seeded: np.random.Generator) -> None:
    original = EXIF if find is find_in_tiff else resource(b"x", 0x0425, b"name") + resource(RECORDS)
    for _ in range(4 * TIMES):
        try:
            find(mutated(original, seeded))
        except ValueError:
            continue


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_mutated_files_with_a_sound_header_give_sound_metadata_or_warnings(
    form: str, drawing: np.ndarray, seeded: np.random.Generator
) -> None:
    original = photograph(form, drawing, exif=EXIF, xmp=PACKET, icc_profile=PROFILE)
    read = 0
    for _ in range(8 * TIMES):
        data = mutated(original, seeded)
        try:
            header = read_header(data)
        except ImageError:
            continue
        metadata, warnings = read_metadata(data, header, Decode())
        assert {*warnings} <= {"metadata_dropped", "profile_invalid"}
        assert clean_metadata(metadata, header, Decode()) == (metadata, ())
        read += not warnings
    assert read > TIMES / 10
