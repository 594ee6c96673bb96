"""TIFF headers, classic and BigTIFF: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from penstock.common.headers.base import Header, corrupt, truncated, unsupported
from penstock.common.model.errors import ImageError

MAX_ENTRIES = 4_096
"""Limit on a directory's entries; camera files have some hundred."""
MAX_PAGES = 64
"""Limit on the directories that are looked at to find a second page."""
MAX_VALUES = 1 << 21
"""Limit on an entry's values; an image of 250 Mpx in tiles of 16×16 pixels has a million."""

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
ORIENTATION, SAMPLES = 274, 277
DNG_VERSION = 50_706

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_REDUCED, _MASK = 1, 4
_SUBDIRECTORIES = 330
_RAW_PHOTOMETRICS = (32_803, 34_892)


def is_tiff(head: bytes) -> bool:
    """Return whether a file that begins so is TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a directory: its type, how many values it has, and the offset of the first."""

    kind: int
    count: int
    start: int

    @property
    def size_bytes(self) -> int:
        return _SIZES.get(self.kind, 1) * self.count


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory (IFD) of a TIFF file: its entries by tag, and the offset of the next one, or 0.

    Values are read when they are asked for. Raises ImageError: `corrupt_image` or `truncated_image`.
    """

    data: bytes = field(repr=False)
    order: Literal["<", ">"]
    entries: dict[int, Entry]
    next: int

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return an entry's integers."""
        entry = self.entries.get(tag)
        if entry is None:
            return default
        code = _INTEGERS.get(entry.kind)
        if code is None or entry.count > MAX_VALUES:
            raise corrupt(f"the TIFF file's tag {tag} has {entry.count} values of type {entry.kind}")
        self._check(tag, entry)
        return struct.unpack_from(f"{self.order}{entry.count}{code}", self.data, entry.start)

    def number(self, tag: int, default: int) -> int:
        """Return an entry's first integer."""
        return next(iter(self.numbers(tag)), default)

    def content(self, tag: int) -> bytes:
        """Return an entry's bytes, whatever they mean; empty if there is no such entry."""
        entry = self.entries.get(tag)
        if entry is None:
            return b""
        self._check(tag, entry)
        return self.data[entry.start : entry.start + entry.size_bytes]

    def _check(self, tag: int, entry: Entry) -> None:
        if entry.start + entry.size_bytes > len(self.data):
            raise truncated(f"the TIFF file ends after {len(self.data)} bytes, within its tag {tag}")


def read_first_directory(data: bytes) -> Directory:
    """Read the first directory of a TIFF file. Raises ImageError: `corrupt_image` or `truncated_image`."""
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    except struct.error as error:
        raise truncated(f"the TIFF file ends after {len(data)} bytes, within its header") from error
    return read_directory(data, order, start, big=big)


def read_directory(data: bytes, order: Literal["<", ">"], start: int, *, big: bool) -> Directory:
    """Read the directory at an offset.

    Raises:
        ImageError: `corrupt_image`, or `truncated_image` if the directory is not within the data.
    """
    try:
        return _read_directory(data, order, start, big=big)
    except (struct.error, OverflowError) as error:
        raise truncated(f"the TIFF file ends after {len(data)} bytes; a directory is at {start}") from error


def _read_directory(data: bytes, order: Literal["<", ">"], start: int, *, big: bool) -> Directory:
    count_code, entry_code, offset_code = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + count_code, data, start)
    if not 0 < count <= MAX_ENTRIES:
        raise corrupt(f"the TIFF file's directory has {count} entries; accepted are 1 to {MAX_ENTRIES}")
    position = start + struct.calcsize(order + count_code)
    head, inline = struct.calcsize(order + entry_code), struct.calcsize(order + offset_code)
    entries: dict[int, Entry] = {}
    for at in range(position, position + count * (head + inline), head + inline):
        tag, kind, values = struct.unpack_from(order + entry_code, data, at)
        (offset,) = struct.unpack_from(order + offset_code, data, at + head)
        fits = _SIZES.get(kind, 1) * values <= inline
        entries.setdefault(tag, Entry(kind, values, at + head if fits else offset))
    (following,) = struct.unpack_from(order + offset_code, data, position + count * (head + inline))
    return Directory(data, order, entries, following)


def read_tiff_header(data: bytes) -> Header:
    """Read the header of a TIFF file's first page.

    Raises:
        ImageError: `unsupported_type` for a camera's raw file, `corrupt_image` or `truncated_image`.
    """
    first = read_first_directory(data)
    if DNG_VERSION in first.entries or first.number(PHOTOMETRIC, 0) in _RAW_PHOTOMETRICS:
        raise unsupported("the file is DNG, a camera's raw file, which is not supported")
    if first.number(SUBFILE_TYPE, 0) & _REDUCED and _SUBDIRECTORIES in first.entries:
        raise unsupported("the file is a camera's raw file, such as NEF, which is not supported")
    width, height = first.number(WIDTH, 0), first.number(HEIGHT, 0)
    if not width or not height:
        raise corrupt(f"the TIFF header has {width}x{height} pixels; accepted are 1 or more on each side")
    samples, bits = first.number(SAMPLES, 1), first.number(BITS, 1)
    orientation = first.number(ORIENTATION, 1)
    return Header(
        "tiff",
        width,
        height,
        samples,
        bits,
        orientation if 1 <= orientation <= 8 else 1,
        images="several" if any(_is_page(page) for page in _following(first)) else "one",
    )


def _following(first: Directory) -> Iterator[Directory]:
    """Yield the directories after the first, as far as they can be read."""
    big = first.data[2:4] in (b"+\0", b"\0+")
    position, seen = first.next, set[int]()
    while position and position not in seen and len(seen) < MAX_PAGES:
        seen.add(position)
        try:
            page = read_directory(first.data, first.order, position, big=big)
        except ImageError:
            return
        yield page
        position = page.next


def _is_page(directory: Directory) -> bool:
    """Return whether a directory is an image of its own, and no smaller copy or mask of another."""
    entry = directory.entries.get(SUBFILE_TYPE)
    try:
        kind = directory.number(SUBFILE_TYPE, 0) if entry and entry.start + 4 <= len(directory.data) else 0
    except ImageError:
        return False
    return not kind & (_REDUCED | _MASK)
