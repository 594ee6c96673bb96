"""TIFF structure: the directories of tagged entries that EXIF consists of, read from untrusted data and rewritten.

https://www.cipa.jp/std/documents/e/DC-008-Translation-2023-E.pdf, section 4.6. Only the four directories of EXIF are
read, each by its one pointer, so that no chain or loop of directories is ever followed.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_ENTRIES = 512
"""Entries read of a directory; cameras write some 50."""

ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
_SIZES = {1: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value by its type."""
_OFFSET_TYPES = (13, 16, 17, 18)
"""Types of BigTIFF and of directories' offsets: they say where something is in its file, and are skipped."""

IMAGE, EXIF, GPS, INTEROP = "image", "exif", "gps", "interop"
_POINTERS = {EXIF: (IMAGE, 0x8769), GPS: (IMAGE, 0x8825), INTEROP: (EXIF, 0xA005)}
"""Where each directory is found: the directory that points to it, and by which tag."""
_POINTER_TAGS = {tag for _, tag in _POINTERS.values()}


class Entry(NamedTuple):
    """One entry, with a value of `length` numbers or characters, in the file's byte order."""

    tag: int
    type: int
    length: int
    value: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Structure:
    """Directories by name, without the entries that point from one to another. `order` is that of `struct`, `<` or `>`.

    `damaged` says whether something in the file could not be read.
    """

    order: str
    directories: dict[str, list[Entry]]
    damaged: bool = False


class _Format(NamedTuple):
    """How a directory is stored: classic TIFF, or BigTIFF with its longer numbers."""

    length: str
    entry: str
    offset: str


_CLASSIC = _Format("H", "HHI4s", "I")
_BIG = _Format("Q", "HHQ8s", "Q")


def read_structure(data: bytes) -> Structure:
    """Read a TIFF structure, or those directories of a whole TIFF file. Raises ValueError if it is none."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise ValueError("no TIFF structure")
    (magic,) = struct.unpack_from(order + "H", data, 2)
    if magic not in (42, 43):
        raise ValueError(f"no TIFF structure: its number is {magic}")
    reader = _Reader(memoryview(data), order, _CLASSIC if magic == 42 else _BIG)
    start = reader.offset_at(4 if magic == 42 else 8)
    directories = {IMAGE: reader.directory(start)}
    for name, (parent, tag) in _POINTERS.items():
        if (pointer := reader.pointers.get((parent, tag))) is not None:
            directories[name] = reader.directory(pointer, name)
    return Structure(order, directories, reader.damaged)


class _Reader:
    def __init__(self, data: memoryview, order: str, form: _Format) -> None:
        self._data = data
        self._length = struct.Struct(order + form.length)
        self._entry = struct.Struct(order + form.entry)
        self._offset = struct.Struct(order + form.offset)
        self.pointers: dict[tuple[str, int], int] = {}
        self.damaged = False

    def offset_at(self, position: int) -> int:
        if position + self._offset.size > len(self._data):
            raise ValueError("the TIFF structure ends within its header")
        (offset,) = self._offset.unpack_from(self._data, position)
        return int(offset)

    def directory(self, start: int, name: str = IMAGE) -> list[Entry]:
        """Return a directory's entries; those that are damaged or unknown are left out."""
        data, size, inline = self._data, len(self._data), self._offset.size
        first = start + self._length.size
        if first > size:
            self.damaged = True
            return []
        (count,) = self._length.unpack_from(data, start)
        there = min(count, MAX_ENTRIES, (size - first) // self._entry.size)
        self.damaged |= there < count
        entries = []
        stored = self._entry.iter_unpack(data[first : first + there * self._entry.size])
        for tag, kind, length, field in stored:
            if tag in _POINTER_TAGS:
                (self.pointers[name, tag],) = self._offset.unpack(field)
                continue
            if kind in _OFFSET_TYPES:
                continue
            value_bytes = _SIZES.get(kind, 0) * length
            if value_bytes <= inline:
                value = field[:value_bytes]
            else:
                (begin,) = self._offset.unpack(field)
                value = data[begin : begin + value_bytes]
            if len(value) != value_bytes or kind not in _SIZES:
                self.damaged = True
            elif length:
                entries.append(Entry(tag, kind, length, value))
        return entries


def write_structure(order: str, directories: Mapping[str, Sequence[Entry]]) -> bytes:
    """Return a TIFF structure: each directory with its values behind it, and none that follows another.

    Entries of a directory are sorted by tag; one without entries is left out.
    """
    used = {name for name, entries in directories.items() if entries}
    used |= {IMAGE, *(_POINTERS[name][0] for name in used if name != IMAGE)}
    names = [name for name in (IMAGE, *_POINTERS) if name in used]
    blocks = {name: [*directories.get(name, ())] for name in names}
    for name in names[1:]:
        parent, tag = _POINTERS[name]
        blocks[parent].append(Entry(tag, LONG, 1, bytes(4)))
    starts, position = {}, _HEADER_BYTES
    for name in names:
        starts[name] = position
        position += DIRECTORY_BYTES + sum(map(stored_bytes, blocks[name]))
    offsets = {tag: starts[name] for name, (_, tag) in _POINTERS.items() if name in starts}
    pieces: list[bytes | memoryview] = [_HEADERS[order]]
    for name in names:
        pieces += _directory_pieces(order, blocks[name], starts[name], offsets)
    return b"".join(pieces)


_HEADER_BYTES = 8
_HEADERS = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}
_ENTRY_BYTES = 12
DIRECTORY_BYTES = 6
"""Size of a directory without entries: their number, and the offset of the next directory."""


def stored_bytes(entry: Entry) -> int:
    """Return the size of an entry in a directory, with its value if that is stored behind it."""
    size = len(entry.value)
    return _ENTRY_BYTES if size <= 4 else _ENTRY_BYTES + size + size % 2


def _directory_pieces(
    order: str, entries: list[Entry], start: int, offsets: Mapping[int, int]
) -> Iterator[bytes | memoryview]:
    """Yield a directory and its values; `offsets` are those of other directories, by the tag that points to them."""
    pack, offset_of = struct.Struct(order + "HHI4s").pack, struct.Struct(order + "I").pack
    behind: list[bytes | memoryview] = []
    position = start + DIRECTORY_BYTES + _ENTRY_BYTES * len(entries)
    yield struct.pack(order + "H", len(entries))
    for tag, kind, count, value in sorted(entries, key=_tag):
        size = len(value)
        if tag in offsets:
            field = offset_of(offsets[tag])
        elif size <= 4:
            field = bytes(value).ljust(4, b"\0")
        else:
            field = offset_of(position)
            behind += (value, b"\0") if size % 2 else (value,)
            position += size + size % 2
        yield pack(tag, kind, count, field)
    yield bytes(4)
    yield from behind


def _tag(entry: Entry) -> int:
    return entry.tag


def set_numbers(data: bytes, numbers: Mapping[int, int], factors: Mapping[int, float]) -> bytes:
    """Return what `write_structure` made with new numbers where its first two directories have these tags.

    `numbers` replaces integers, and `factors` multiplies fractions.

    Raises ValueError if the data is something else.
    """
    order = "<" if data.startswith(b"II") else ">"
    entry, short = struct.Struct(order + "HHII"), struct.Struct(order + "HHIHxx")
    fraction = struct.Struct(order + "II")
    made = bytearray(data)
    try:
        starts = [*struct.unpack_from(order + "I", data, 4)]
        for start in starts:
            (count,) = struct.unpack_from(order + "H", data, start)
            first = start + 2
            stored = entry.iter_unpack(data[first : first + _ENTRY_BYTES * count])
            for index, (tag, kind, values, offset) in enumerate(stored):
                if tag == _POINTERS[EXIF][1] and len(starts) == 1:
                    starts.append(offset)
                elif tag in numbers:
                    form, type_ = (short, SHORT) if numbers[tag] <= 0xFFFF else (entry, LONG)
                    form.pack_into(made, first + _ENTRY_BYTES * index, tag, type_, 1, numbers[tag])
                elif tag in factors and values == 1 and kind == RATIONAL:
                    numerator, denominator = fraction.unpack_from(data, offset)
                    fraction.pack_into(made, offset, *_scale(numerator, denominator, factors[tag]))
    except struct.error as error:
        raise ValueError("the TIFF structure is damaged") from error
    return bytes(made)


_DENOMINATOR = 10_000


def _scale(numerator: int, denominator: int, factor: float) -> tuple[int, int]:
    """Return a fraction multiplied by a factor, to four decimals; 0/0, which means unknown, if that is not possible."""
    scaled = round(numerator / denominator * factor * _DENOMINATOR) if denominator else 1 << 32
    return (scaled, _DENOMINATOR) if scaled < 1 << 32 else (0, 0)
