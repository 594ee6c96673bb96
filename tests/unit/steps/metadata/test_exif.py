from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from camera_files import EXIF, GPS, PLACE, TAKEN, exif, read_exif
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from penstock.steps.metadata.exif import MAX_BYTES, clean_exif, fit_exif


def clean(data: bytes, **options: Any) -> dict[str, dict[int, Any]]:
    """Return what Pillow reads in cleaned EXIF."""
    cleaned, lost = clean_exif(data, **{"geo": False} | options)
    assert not lost
    return read_exif(cleaned)


def test_everything_that_holds_for_results_is_kept() -> None:
    found = clean(exif(exif={0xA431: "serial", 0xA005: {1: "R98", 2: b"0100"}}))
    assert found["image"] == {0x010F: "Maker", 0x0110: "Model", 0x0132: TAKEN}
    assert {tag: found["exif"][tag] for tag in (0x9003, 0x920A, 0xA431)} == {
        0x9003: TAKEN,
        0x920A: 3.6,
        0xA431: "serial",
    }
    assert found["gps"] == PLACE
    assert found["interop"] == {1: "R98", 2: b"0100"}


MAPILLARY = {
    "MAPLatitude": 52.0116,
    "MAPLongitude": 4,
    "MAPAltitude": -1.5,
    "MAPCaptureTime": "2026_07_14_09_05_31_500",
    "MAPCompassHeading": {"TrueHeading": 271.5, "MagneticHeading": 270},
}


def described(text: str, **options: Any) -> str | None:
    """Return what is kept of a description."""
    return clean(exif(image={0x010E: text}), **options)["image"].get(0x010E)


def test_place_time_and_heading_of_mapillary_are_kept_as_geo() -> None:
    private = {"MAPSettingsUsername": "somebody", "MAPSequenceUUID": "5d", "MAPDeviceModel": "X", "MAPLatitudeRef": 1}
    headings = MAPILLARY["MAPCompassHeading"] | {"Owner": "somebody"}  # type: ignore[operator]
    text = json.dumps(private | MAPILLARY | {"MAPCompassHeading": headings})
    kept = described(text, geo=True)
    assert kept is not None
    assert json.loads(kept) == MAPILLARY
    assert described(text) == text
    assert described(kept, geo=True) == kept


@pytest.mark.parametrize(
    "text",
    [
        "Delft, the canal",
        "[]",
        "{",
        "[" * 16_000,
        '{"MAPLatitude": "here", "MAPLongitude": 181, "MAPAltitude": NaN, "MAPGPSAccuracyMeters": true}',
        '{"MAPCaptureTime": "at noon", "MAPCompassHeading": {"TrueHeading": [1]}}',
        '{"MAPCaptureTime": 20260714, "MAPCompassHeading": 1e999}',
        '{"MAPLatitude": 52' + " " * 20_000 + "}",
    ],
    ids=["text", "list", "cut", "deep", "no numbers", "no time", "types", "long"],
)
def test_nothing_else_of_a_description_is_kept_as_geo(text: str) -> None:
    assert described(text, geo=True) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read_and_kept(order: str) -> None:
    made = Image.Exif()
    made.endian = order
    made[0x010F] = "A maker"
    made.get_ifd(GPS).update(PLACE)
    cleaned, lost = clean_exif(made.tobytes()[6:], geo=False)
    assert not lost
    assert cleaned[:2] == (b"II" if order == "<" else b"MM")
    assert read_exif(cleaned)["gps"] == PLACE


def test_the_orientation_becomes_1() -> None:
    assert clean(exif(image={0x0112: 6}))["image"][0x0112] == 1


def test_a_thumbnail_is_nowhere_in_the_result() -> None:
    thumbnail = b"\xff\xd8 the face as it was \xff\xd9"
    head = exif()
    assert head[:2] == b"MM"
    entries = [(0x0201, 4, 1, len(head) + 2 + 2 * 12 + 4), (0x0202, 4, 1, len(thumbnail))]
    directory = struct.pack(">H", 2) + b"".join(struct.pack(">HHII", *entry) for entry in entries) + bytes(4)
    link = link_position(head)
    data = head[:link] + struct.pack(">I", len(head)) + head[link + 4 :] + directory + thumbnail
    cleaned, lost = clean_exif(data, geo=False)
    assert not lost
    assert thumbnail not in cleaned
    assert cleaned[link_position(cleaned) :][:4] == bytes(4)
    assert read_exif(cleaned)["gps"] == PLACE


def link_position(tiff: bytes) -> int:
    """Return where a big-endian structure says where the directory behind the first one is."""
    (first,) = struct.unpack_from(">I", tiff, 4)
    (count,) = struct.unpack_from(">H", tiff, first)
    return int(first) + 2 + 12 * int(count)


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("image", {0x0111: 8, 0x0117: 100, 0x0103: 6, 0x014A: 8, 0x02BC: b"<x/>", 0x8773: b"profile"}),
        ("exif", {0x927C: b"notes of a maker", 0x9214: (10, 10, 5, 5), 0x9102: 4.0}),
    ],
)
def test_what_belongs_to_the_sources_file_is_left_out(name: str, tags: dict[int, Any]) -> None:
    assert read_exif(exif(**{name: tags}))[name].keys() >= tags.keys()
    assert not clean(exif(**{name: tags}))[name].keys() & tags.keys()


def test_geo_keeps_place_time_and_heading_alone() -> None:
    data = exif(
        image={0x013B: "owner", 0x9C9D: b"author"},
        exif={0xA431: "serial", 0xA430: "owner", 0x9011: "+02:00", 0x9291: "25", 0x9286: b"comment"},
    )
    found = clean(data, geo=True)
    assert found["image"] == {0x0132: TAKEN}
    assert found["exif"] == {0x9003: TAKEN, 0x9011: "+02:00", 0x9291: "25"}
    assert found["gps"] == PLACE
    assert b"owner" not in clean_exif(data, geo=True)[0]


def test_nothing_is_left_of_exif_without_place_or_time_where_geo_is_wanted() -> None:
    made = Image.Exif()
    made[0x010F] = "Maker"
    assert clean_exif(made.tobytes()[6:], geo=True) == (b"", False)


def test_a_result_in_srgb_says_so() -> None:
    data = exif(exif={0xA001: 0xFFFF, 0xA005: {1: "R03"}})
    found = clean(data, srgb=True)
    assert (found["exif"][0xA001], found["interop"]) == (1, {})
    assert clean(data)["exif"][0xA001] == 0xFFFF


def test_a_result_has_its_own_size_wherever_there_is_one() -> None:
    cleaned, _ = clean_exif(exif(image={0x0100: 96, 0x0101: 72}), geo=False)
    found = read_exif(fit_exif(cleaned, 70_000, 24, (1, 1)))
    assert (found["image"][0x0100], found["image"][0x0101]) == (70_000, 24)
    assert (found["exif"][0xA002], found["exif"][0xA003]) == (70_000, 24)
    assert found["gps"] == PLACE


def test_no_size_is_added_where_there_is_none() -> None:
    made = Image.Exif()
    made.get_ifd(EXIF)[0x9003] = TAKEN
    cleaned, _ = clean_exif(made.tobytes()[6:], geo=False)
    assert fit_exif(cleaned, 10, 10, (0.5, 0.5)) == cleaned


def test_the_sensors_resolution_follows_the_scale() -> None:
    cleaned, _ = clean_exif(exif(exif={0xA20E: IFDRational(4000), 0xA20F: IFDRational(3000), 0xA210: 3}), geo=False)
    found = read_exif(fit_exif(cleaned, 48, 18, (0.5, 0.25)))
    assert (found["exif"][0xA20E], found["exif"][0xA20F]) == (2000, 750)


def test_the_largest_entries_are_left_out_of_too_much() -> None:
    data = exif(exif={0x9286: b"x" * 60_000}, image={0x010E: "y" * 20_000})
    cleaned, lost = clean_exif(data, geo=False)
    assert lost
    assert len(cleaned) <= MAX_BYTES
    found = read_exif(cleaned)
    assert 0x9286 not in found["exif"]
    assert found["image"][0x010E] == "y" * 20_000
    assert found["gps"] == PLACE


@pytest.mark.parametrize(
    "data", [b"", b"II", b"MM\0*\0\0", b"II*\0\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n", b"II*\0\0\0\0\0"]
)
def test_anything_else_is_damaged_and_gives_nothing(data: bytes) -> None:
    assert clean_exif(data, geo=False) == (b"", True)


def test_entries_that_point_outside_are_left_out_and_the_others_kept() -> None:
    entries = [(0x010F, 2, 10, 1_000_000), (0x0110, 2, 4, 0x41424300), (0x0112, 99, 1, 1), (0x0131, 2, 0xFFFFFFFF, 8)]
    data = b"MM\0*\0\0\0\x08" + struct.pack(">H", 4) + b"".join(struct.pack(">HHII", *entry) for entry in entries)
    cleaned, lost = clean_exif(data + bytes(4), geo=False)
    assert lost
    assert read_exif(cleaned)["image"] == {0x0110: "ABC"}


def test_directories_that_point_to_each_other_end() -> None:
    """Each of the pointers leads back to the first directory."""
    entries = [(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), (0x0110, 2, 4, 0x41424300)]
    data = b"MM\0*\0\0\0\x08" + struct.pack(">H", 4) + b"".join(struct.pack(">HHII", *entry) for entry in entries)
    cleaned, _ = clean_exif(data + struct.pack(">I", 8), geo=False)
    assert len(cleaned) < 200


def test_many_entries_with_the_same_large_value_stay_within_the_limit() -> None:
    value = bytes(60_000)
    count = 4_000
    entries = b"".join(struct.pack("<HHII", 0x9C00 + index, 7, len(value), 8) for index in range(count))
    data = b"II*\0" + struct.pack("<I", 8 + len(value)) + value + struct.pack("<H", count) + entries
    cleaned, lost = clean_exif(data, geo=False)
    assert lost
    assert len(cleaned) <= MAX_BYTES


@pytest.mark.parametrize("data", [b"MM\0*\0\0\0\x08", b"II*\0\xff\0\0\0", b"MM\0*\0\0\0\x08\0\x09" + bytes(20), b"x"])
def test_damaged_exif_of_a_program_is_left_out_of_the_result(data: bytes) -> None:
    assert fit_exif(data, 10, 10, (0.5, 0.5)) == b""
