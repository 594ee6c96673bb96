"""A ZIP file as a stream, of any number of files, in bounded memory.

Files are stored as they are: pictures are compressed already. Each is read once more for its checksum before it is
sent where it is too large to hold, so that every header is complete and the archive can be unpacked while it arrives
(a stored file without its size in front cannot). The directory at the end grows by about a hundred bytes a file;
beyond a mebibyte it waits on disk. Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_OFFSET_EXTRA = struct.Struct("<2HQ")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")

_VERSION = 45  # with ZIP64
_UNIX = 3 << 8
_UTF8_NAME = 0x800
_READABLE_FILE = 0o100644 << 16
ZIP64_FROM_BYTES = 0xFFFFFFFF
ZIP64_FROM_FILES = 0xFFFF
"""Offsets and counts from which on the wider fields are written."""

_MAX_16 = 0xFFFF
_MAX_32 = 0xFFFFFFFF

_HELD_BYTES = 1024 * 1024
_SENT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Member:
    """A file to put into an archive, under 4 GiB. `read` yields its bytes, the same ones each time."""

    name: str
    size_bytes: int
    read: Callable[[], Iterator[bytes]]


def archive(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield a ZIP file in pieces of about 256 KiB or more.

    Raises:
        ValueError: a file is not of the size it should be; the archive must not be taken for whole.
    """
    held = bytearray()
    for piece in _pieces(members):
        held += piece
        if len(held) >= _SENT_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _pieces(members: Iterable[Member]) -> Iterator[bytes]:
    offset = count = 0
    stamp = _dos_time()
    with SpooledTemporaryFile(_HELD_BYTES) as directory:
        for member in members:
            name = member.name.encode()
            crc, data = _load(member)
            yield _LOCAL.pack(
                b"PK\3\4", 20, _UTF8_NAME, 0, *stamp, crc, member.size_bytes, member.size_bytes, len(name), 0
            )
            yield name
            yield from data
            directory.write(_directory_entry(name, member.size_bytes, crc, stamp, offset))
            offset += _LOCAL.size + len(name) + member.size_bytes
            count += 1
        size = directory.tell()
        directory.seek(0)
        while piece := directory.read(_SENT_BYTES):
            yield piece
    yield _end(count, size, offset)


def _load(member: Member) -> tuple[int, Iterator[bytes]]:
    """Return a file's checksum and its bytes."""
    if member.size_bytes <= _HELD_BYTES:
        data = b"".join(member.read())
        crc, size = zlib.crc32(data), len(data)
        again = iter([data])
    else:
        crc = size = 0
        for piece in member.read():
            crc, size = zlib.crc32(piece, crc), size + len(piece)
        again = member.read()
    if size != member.size_bytes:
        raise ValueError(f"{member.name} has {size} bytes instead of {member.size_bytes}")
    return crc, again


def _directory_entry(name: bytes, size: int, crc: int, stamp: tuple[int, int], offset: int) -> bytes:
    extra = _OFFSET_EXTRA.pack(1, 8, offset) if offset >= ZIP64_FROM_BYTES else b""
    shown = _MAX_32 if extra else offset
    fixed = _CENTRAL.pack(
        b"PK\1\2", _UNIX | _VERSION, _VERSION if extra else 20, _UTF8_NAME, 0, *stamp,
        crc, size, size, len(name), len(extra), 0, 0, 0, _READABLE_FILE, shown,
    )  # fmt: skip
    return fixed + name + extra


def _end(count: int, size: int, offset: int) -> bytes:
    plain = _END.pack(
        b"PK\5\6", 0, 0, min(count, _MAX_16), min(count, _MAX_16), min(size, _MAX_32), min(offset, _MAX_32), 0
    )
    if count < ZIP64_FROM_FILES and size < ZIP64_FROM_BYTES and offset < ZIP64_FROM_BYTES:
        return plain
    end_64 = _END_64.pack(b"PK\6\6", _END_64.size - 12, _UNIX | _VERSION, _VERSION, 0, 0, count, count, size, offset)
    return end_64 + _LOCATOR_64.pack(b"PK\6\7", 0, offset + size, 1) + plain


def _dos_time() -> tuple[int, int]:
    now = time.gmtime()
    return now.tm_hour << 11 | now.tm_min << 5 | now.tm_sec // 2, (
        now.tm_year - 1980
    ) << 9 | now.tm_mon << 5 | now.tm_mday
