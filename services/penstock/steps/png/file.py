"""PNG files: reading, checking and writing their chunks and compressed rows.

https://www.w3.org/TR/png-3/
"""

import struct
from collections.abc import Iterator, Sequence

from isal import isal_zlib
from isal.igzip_lib import IsalError

from penstock.common.image_header import PNG_SIGNATURE, Header, corrupt, truncated

MAX_CHUNKS = 100_000
"""Chunks per file; real files of 64 MiB have about 8,000."""

MAX_REPACKED_BYTES = 32 * 1024 * 1024
"""Up to this many bytes of rows a file is repacked, which decodes faster; larger files would take too much memory."""

_STORED_BLOCK_BYTES = 65_535
_MAX_BYTES_BEYOND = 65_536
_BLOCK_BYTES = 1024 * 1024
_KEPT_ANCILLARY = {b"tRNS", b"eXIf"}
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_EXIF_TEXT = b"Raw profile type "


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk: length, kind, content and checksum."""
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return b"".join((len(content).to_bytes(4, "big"), kind, content, checksum.to_bytes(4, "big")))


def make_png(width: int, height: int, compressed_rows: bytes, *, bits: int = 8, alpha: bool = False) -> bytes:
    """Return an RGB or RGBA PNG file without metadata; `compressed_rows` is a zlib stream of filtered rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 6 if alpha else 2, 0, 0, 0))
    return b"".join((PNG_SIGNATURE, header, chunk(b"IDAT", compressed_rows), _IEND))


_IEND = chunk(b"IEND", b"")


def check_and_repack(data: bytes, header: Header) -> bytes:
    """Check a whole PNG file, and return one that libpng decodes to the same pixels, faster and without warnings.

    Rows are inflated with ISA-L, counted, and stored uncompressed. Chunks that affect neither pixels nor orientation
    are dropped. An animation is reduced to its default image.

    Raises:
        ImageError: `truncated_image` or `corrupt_image`.
    """
    before: list[bytes] = []
    after: list[bytes] = []
    pieces: list[bytes] = []
    kept: set[bytes] = set()
    previous = b"IHDR"
    for kind, start, end in chunks(data):
        if kind == b"IDAT":
            if pieces and previous != b"IDAT":
                raise corrupt("the PNG file has other chunks between its IDAT chunks")
            _check(data, kind, start, end)
            pieces.append(data[start:end])
        elif kind not in kept and _is_kept(data, kind, start, end):
            kept.add(kind)
            (after if pieces else before).append(data[start - 8 : end + 4])
        previous = kind
    if not pieces:
        raise corrupt("the PNG file has no pixels: IDAT is missing")
    if _row_bytes(header, data) <= MAX_REPACKED_BYTES:
        pieces = [_store_uncompressed(_inflate(b"".join(pieces), header, data))]
    else:
        _check_rows(pieces, header, data)
    body = [chunk(b"IDAT", piece) for piece in pieces]
    return b"".join((data[: header.data_start], *before, *body, *after, _IEND))


def find_chunk(data: bytes, kind: bytes) -> bytes | None:
    """Return the content of a file's first chunk of a kind, if there is one."""
    return next((data[start:end] for found, start, end in chunks(data) if found == kind), None)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end) of the content of each chunk after the header, IEND included."""
    _check(data, b"IHDR", 16, 29)
    position, size = 33, len(data)
    for _ in range(MAX_CHUNKS):
        if position + 12 > size:
            break
        kind = data[position + 4 : position + 8]
        if not kind.isalpha():
            raise corrupt(f"the PNG file has no chunk at byte {position}, where one should be")
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > size:
            break
        yield kind, position + 8, end
        if kind == b"IEND":
            return
        position = end + 4
    else:
        raise corrupt(f"the PNG file has more than {MAX_CHUNKS} chunks")
    raise truncated(f"the PNG file ends after {size} bytes, before its last chunk, IEND")


def _is_kept(data: bytes, kind: bytes, start: int, end: int) -> bool:
    """Return whether a chunk other than IDAT affects pixels or orientation; raise if it is unknown and critical."""
    if kind == b"PLTE":
        _check(data, kind, start, end)
        return True
    if kind == b"IEND":
        return False
    if kind[0] & 0x20 == 0:
        raise corrupt(f"the PNG file has an unknown critical chunk, {kind.decode()}")
    wanted = kind in _KEPT_ANCILLARY or (kind in _TEXT_CHUNKS and data.startswith(_EXIF_TEXT, start))
    return wanted and has_valid_checksum(data, kind, start, end)


def has_valid_checksum(data: bytes, kind: bytes, start: int, end: int) -> bool:
    checksum = isal_zlib.crc32(memoryview(data)[start:end], isal_zlib.crc32(kind))
    return checksum == int.from_bytes(data[end : end + 4], "big")


def _check(data: bytes, kind: bytes, start: int, end: int) -> None:
    if not has_valid_checksum(data, kind, start, end):
        raise corrupt(f"the PNG file is damaged: chunk {kind.decode()} at byte {start - 8} has a wrong checksum")


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, column step and row step of each pass of an interlaced image."""

_INTERLACE_AT = 28


def _row_bytes(header: Header, data: bytes) -> int:
    """Return the size of all rows, each with its filter byte."""
    bits = header.components * header.bit_depth
    if not data[_INTERLACE_AT]:
        return header.height * (1 + (header.width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _ADAM7:
        columns = (header.width - left + across - 1) // across
        rows = (header.height - top + down - 1) // down
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflate(compressed: bytes, header: Header, data: bytes) -> bytes:
    expected = _row_bytes(header, data)
    stream = isal_zlib.decompressobj()
    try:
        rows: bytes = stream.decompress(compressed, expected)
        if not stream.eof:  # the checksum follows, or a little excess data, which libpng ignores as well
            stream.decompress(stream.unconsumed_tail, _MAX_BYTES_BEYOND)
    except IsalError as error:  # type: ignore[misc]
        raise corrupt(f"the PNG file is damaged: its pixels cannot be decompressed ({error})") from error
    if len(rows) < expected:
        raise truncated(f"the PNG file has {len(rows)} bytes of pixels; {expected} are needed")
    if not stream.eof:
        raise truncated("the PNG file's pixels do not end with their checksum")
    if not data[_INTERLACE_AT] and max(rows[:: expected // header.height]) > 4:
        raise corrupt("the PNG file is damaged: a row has a filter that does not exist")
    return rows


def _check_rows(pieces: Sequence[bytes], header: Header, data: bytes) -> None:
    """Check compressed rows as `_inflate` does, a block at a time, because they are too many to keep."""
    expected, found = _row_bytes(header, data), 0
    stream = isal_zlib.decompressobj()
    try:
        for piece in pieces:
            block = stream.decompress(piece, _BLOCK_BYTES)
            while block:
                found += len(block)
                if found > expected + _MAX_BYTES_BEYOND:
                    raise corrupt(f"the PNG file has more than the {expected} bytes of pixels that it needs")
                if stream.eof:
                    break
                block = stream.decompress(stream.unconsumed_tail, _BLOCK_BYTES)
    except IsalError as error:  # type: ignore[misc]
        raise corrupt(f"the PNG file is damaged: its pixels cannot be decompressed ({error})") from error
    if found < expected:
        raise truncated(f"the PNG file has {found} bytes of pixels; {expected} are needed")
    if not stream.eof:
        raise truncated("the PNG file's pixels do not end with their checksum")


def _store_uncompressed(rows: bytes) -> bytes:
    """Return rows as a zlib stream of stored blocks (RFC 1951, 3.2.4)."""
    pieces = [b"\x78\x01"]
    for start in range(0, len(rows), _STORED_BLOCK_BYTES):
        block = rows[start : start + _STORED_BLOCK_BYTES]
        last = start + _STORED_BLOCK_BYTES >= len(rows)
        pieces += (struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block)
    pieces.append(isal_zlib.adler32(rows).to_bytes(4, "big"))
    return b"".join(pieces)
