"""ZIP stream: a ZIP file of any number of files, written in bounded memory.

Files are stored without compression, because images are compressed already. A stored file can be unpacked from a
stream only if its header has size and checksum; a file that is too large to hold in memory is therefore read twice.
The central directory takes about a hundred bytes per file and moves to disk above a mebibyte.
Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

from penstock.coordinator.api.responses.stream import IncompleteError

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
_MAX_16 = 0xFFFF
_MAX_32 = 0xFFFFFFFF
"""Larger counts and offsets need the wider fields of ZIP64."""

_HELD_BYTES = 1024 * 1024
_SENT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Member:
    """A file of the archive, under 4 GiB. `read` yields its bytes, the same ones each time."""

    name: str
    size_bytes: int
    read: Callable[[], Iterator[bytes]]


def zip_stream(members: Iterable[Member], *, zip64_from_bytes: int = _MAX_32) -> Iterator[bytes]:
    """Yield a ZIP file in chunks of 256 KiB or more.

    Raises:
        IncompleteError: a file has not the size of its member; the archive is incomplete.
    """
    held = bytearray()
    for chunk in _chunks(members, zip64_from_bytes):
        held += chunk
        if len(held) >= _SENT_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _chunks(members: Iterable[Member], zip64_from_bytes: int) -> Iterator[bytes]:
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
            directory.write(
                _directory_entry(name, member.size_bytes, crc, stamp, offset, zip64=offset >= zip64_from_bytes)
            )
            offset += _LOCAL.size + len(name) + member.size_bytes
            count += 1
        size = directory.tell()
        directory.seek(0)
        while chunk := directory.read(_SENT_BYTES):
            yield chunk
    yield _end(count, size, offset, zip64=count >= _MAX_16 or max(size, offset) >= zip64_from_bytes)


def _load(member: Member) -> tuple[int, Iterator[bytes]]:
    """Return a file's CRC-32 and its bytes."""
    if member.size_bytes <= _HELD_BYTES:
        data = b"".join(member.read())
        crc, size = zlib.crc32(data), len(data)
        contents = iter([data])
    else:
        crc = size = 0
        for chunk in member.read():
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
        contents = member.read()
    if size != member.size_bytes:
        raise IncompleteError(f"{member.name} has {size} bytes instead of {member.size_bytes}")
    return crc, contents


def _directory_entry(name: bytes, size: int, crc: int, stamp: tuple[int, int], offset: int, *, zip64: bool) -> bytes:
    extra = _OFFSET_EXTRA.pack(1, 8, offset) if zip64 else b""
    shown = _MAX_32 if extra else offset
    fixed = _CENTRAL.pack(
        b"PK\1\2", _UNIX | _VERSION, _VERSION if extra else 20, _UTF8_NAME, 0, *stamp,
        crc, size, size, len(name), len(extra), 0, 0, 0, _READABLE_FILE, shown,
    )  # fmt: skip
    return fixed + name + extra


def _end(count: int, size: int, offset: int, *, zip64: bool) -> bytes:
    plain = _END.pack(
        b"PK\5\6", 0, 0, min(count, _MAX_16), min(count, _MAX_16), min(size, _MAX_32), min(offset, _MAX_32), 0
    )
    if not zip64:
        return plain
    end_64 = _END_64.pack(b"PK\6\6", _END_64.size - 12, _UNIX | _VERSION, _VERSION, 0, 0, count, count, size, offset)
    return end_64 + _LOCATOR_64.pack(b"PK\6\7", 0, offset + size, 1) + plain


def _dos_time() -> tuple[int, int]:
    now = time.gmtime()
    return now.tm_hour << 11 | now.tm_min << 5 | now.tm_sec // 2, (
        now.tm_year - 1980
    ) << 9 | now.tm_mon << 5 | now.tm_mday
