from __future__ import annotations

import pytest
from camera_files import record, resource

from penstock.steps.metadata.iptc import MAX_BYTES, clean_iptc, find_iptc, make_resource

CHARACTERS = record(90, b"\x1b%G", 1)
CITY, CAPTION, DATE = record(90, b"Delft"), record(120, b"Canal"), record(55, b"20260501")


def test_records_are_kept_as_they_are() -> None:
    assert clean_iptc(CHARACTERS + CITY + CAPTION, geo=False) == (CHARACTERS + CITY + CAPTION, False)


def test_geo_keeps_place_and_time_alone() -> None:
    assert clean_iptc(CHARACTERS + CITY + CAPTION + DATE, geo=True) == (CHARACTERS + CITY + DATE, False)
    assert clean_iptc(CHARACTERS + CAPTION, geo=True) == (b"", False)


def test_previews_are_left_out() -> None:
    assert clean_iptc(CITY + record(202, b"\xff\xd8 face"), geo=False) == (CITY, False)


def test_padding_is_left_out() -> None:
    assert clean_iptc(CITY + bytes(7), geo=False) == (CITY, False)


@pytest.mark.parametrize("rest", [CAPTION[:-1], b"junk", b"\x1c\x02\x78\x80\x04\0\0\0\1x"])
def test_what_follows_damage_is_left_out(rest: bytes) -> None:
    assert clean_iptc(CITY + rest, geo=False) == (CITY, True)


def test_too_much_is_left_out() -> None:
    assert clean_iptc(record(120, bytes(30_000)) * 3, geo=False) == (b"", True)
    assert len(make_resource(clean_iptc(record(120, bytes(30_000)) * 2, geo=False)[0])) < MAX_BYTES


@pytest.mark.parametrize("name", [b"", b"a", b"ab"])
def test_records_are_found_behind_other_resources(name: bytes) -> None:
    assert find_iptc(resource(b"123", 0x0425, name) + resource(CITY, name=name) + resource(b"", 0x03ED)) == CITY


@pytest.mark.parametrize(
    "damaged", [b"", b"8BIM", b"8BIM\4\4\0\0\0\0\0\xff", b"8BIM\4\4\xff\0\0\0\0\0", b"8BPS" + bytes(20)]
)
def test_damaged_resources_hold_nothing(damaged: bytes) -> None:
    assert find_iptc(damaged) == b""


def test_a_written_resource_is_found_again() -> None:
    assert find_iptc(make_resource(CITY) + make_resource(CAPTION)) == CITY


def test_endless_fields_and_resources_are_not_all_read() -> None:
    cleaned, lost = clean_iptc(record(25, b"") * 1_000_000, geo=False)
    assert lost
    assert len(cleaned) < MAX_BYTES
    assert find_iptc(resource(b"", 0x0425) * 100_000 + resource(CITY)) == b""
