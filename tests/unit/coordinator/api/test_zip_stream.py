"""ZIP streams hold what was put in, at any size, for other programs to read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import partial

import pytest

from penstock.coordinator.api.responses.zip_stream import Member, zip_stream


def member(name: str, data: bytes) -> Member:
    """A file that is read in chunks of 100 kB."""
    return Member(name, len(data), lambda: (data[start : start + 100_000] for start in range(0, len(data), 100_000)))


def unzip(*members: Member, **options: int) -> zipfile.ZipFile:
    """Open the archive with Python's own reader."""
    read = zipfile.ZipFile(io.BytesIO(b"".join(zip_stream(members, **options))))
    assert read.testzip() is None
    return read


def test_files_come_out_as_they_went_in() -> None:
    files = {"a.jpg": b"small", "folder/ü.png": bytes(3_000_000), "empty": b""}
    with unzip(*[member(name, data) for name, data in files.items()]) as read:
        assert {name: read.read(name) for name in read.namelist()} == files
        assert all(info.date_time[0] >= 2024 for info in read.infolist())


def test_an_archive_without_files_is_valid() -> None:
    with unzip() as read:
        assert read.namelist() == []


def test_more_files_than_16_bits_can_count_are_all_there() -> None:
    with unzip(*[member(f"{n}", b"x") for n in range(66_000)]) as read:
        assert len(read.namelist()) == 66_000


def test_files_are_found_by_the_wide_fields_of_zip64() -> None:
    with unzip(*[member(f"{n}.jpg", b"%d" % n * 100) for n in range(20)], zip64_from_bytes=500) as read:
        assert read.read("19.jpg") == b"19" * 100
        assert read.getinfo("0.jpg").extra == b""
        assert len(read.getinfo("19.jpg").extra) == 12


def test_every_local_header_has_the_size_so_that_the_stream_can_be_unpacked() -> None:
    data = b"".join(zip_stream([member("large.jpg", bytes(range(250)) * 8_000)]))
    size, flags = int.from_bytes(data[18:22], "little"), int.from_bytes(data[6:8], "little")
    assert (size, flags & 8) == (2_000_000, 0)


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_file_whose_size_differs_from_its_member_aborts_the_archive(size: int) -> None:
    def read(wrong: int) -> Iterator[bytes]:
        yield bytes(wrong)

    with pytest.raises(ValueError, match="bytes instead of"):
        list(zip_stream([Member("a", size, partial(read, size - 1))]))
