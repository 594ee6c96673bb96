"""Archives: what other programs read in them is what was put in, at any size."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import partial

import pytest

from penstock.coordinator.api.responses import zip_stream as archive
from penstock.coordinator.api.responses.zip_stream import Member


def member(name: str, data: bytes) -> Member:
    """A file that reads in pieces of 100 kB."""
    return Member(name, len(data), lambda: (data[start : start + 100_000] for start in range(0, len(data), 100_000)))


def opened(*members: Member) -> zipfile.ZipFile:
    """The archive as Python's own reader sees it."""
    read = zipfile.ZipFile(io.BytesIO(b"".join(archive.archive(members))))
    assert read.testzip() is None
    return read


def test_files_come_out_as_they_went_in() -> None:
    files = {"a.jpg": b"small", "folder/ü.png": bytes(3_000_000), "empty": b""}
    with opened(*[member(name, data) for name, data in files.items()]) as read:
        assert {name: read.read(name) for name in read.namelist()} == files
        assert all(info.date_time[0] >= 2024 for info in read.infolist())


def test_an_archive_of_nothing_is_an_archive() -> None:
    with opened() as read:
        assert read.namelist() == []


def test_more_files_than_the_old_format_counts_are_all_there() -> None:
    with opened(*[member(f"{n}", b"x") for n in range(66_000)]) as read:
        assert len(read.namelist()) == 66_000


def test_the_wide_fields_lead_to_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ZIP64_FROM_BYTES", 500)
    with opened(*[member(f"{n}.jpg", b"%d" % n * 100) for n in range(20)]) as read:
        assert read.read("19.jpg") == b"19" * 100
        assert read.getinfo("0.jpg").extra == b""
        assert len(read.getinfo("19.jpg").extra) == 12


def test_every_file_has_its_size_in_front_so_that_it_can_be_unpacked_while_it_arrives() -> None:
    data = b"".join(archive.archive([member("large.jpg", bytes(range(250)) * 8_000)]))
    size, flags = int.from_bytes(data[18:22], "little"), int.from_bytes(data[6:8], "little")
    assert (size, flags & 8) == (2_000_000, 0)


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_file_of_another_size_than_promised_ends_the_archive(size: int) -> None:
    def read(wrong: int) -> Iterator[bytes]:
        yield bytes(wrong)

    with pytest.raises(ValueError, match="bytes instead of"):
        list(archive.archive([Member("a", size, partial(read, size - 1))]))
