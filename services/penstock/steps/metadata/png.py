"""PNG chunks with metadata: found in a file, and put into one.

https://www.w3.org/TR/png-3/#11eXIf; XMP, part 3, section 1.1.5. EXIF, XMP and IPTC may also stand in texts named "Raw
profile type", as ImageMagick writes them: https://exiftool.org/TagNames/PNG.html#TextualData
"""

from collections.abc import Callable, Iterator
from itertools import islice

from isal import isal_zlib
from isal.igzip_lib import IsalError

from penstock.steps.image import Metadata
from penstock.steps.metadata.icc import MAX_BYTES as MAX_PROFILE_BYTES
from penstock.steps.metadata.iptc import find_iptc, make_resource
from penstock.steps.metadata.xmp_packet import MAX_READ_BYTES
from penstock.steps.png.file import chunk, chunks, has_valid_checksum

_XMP = b"XML:com.adobe.xmp"
_RAW = b"Raw profile type "
_EXIF_PREFIX, _XMP_PREFIX = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_MAX_RAW_BYTES = 1024 * 1024
_MAX_READ = 64
"""So many chunks that may hold metadata are read; a file has one of each kind, and some text."""
_HEADER_END = 33
_UNREADABLE = b"?"
"""Stands for what is damaged or too large; it is no metadata of any kind."""

Found = tuple[str, bytes]
"""A field of `Metadata` and its value."""


def find_in_png(data: bytes) -> Metadata:
    """Return what the chunks of a PNG file hold, as it is; of each kind the first. The file has been checked."""
    found: dict[str, bytes] = {}
    for field, value in _read_chunks(data):
        found.setdefault(field, value or _UNREADABLE)
    exif, xmp, iptc, icc = (found.get(field, b"") for field in ("exif", "xmp", "iptc", "icc"))
    return Metadata(exif=exif, xmp=xmp, iptc=iptc, icc=icc)


def _read_chunks(data: bytes) -> Iterator[Found]:
    wanted = (each for each in chunks(data) if each[0] in _READERS)
    for kind, start, end in islice(wanted, _MAX_READ):
        yield from _READERS[kind](data[start:end] if has_valid_checksum(data, kind, start, end) else b"")


def _read_exif(content: bytes) -> Iterator[Found]:
    yield "exif", content.removeprefix(_EXIF_PREFIX)


def _read_profile(content: bytes) -> Iterator[Found]:
    _, _, compressed = content.partition(b"\0")
    yield "icc", _inflate(compressed[1:], MAX_PROFILE_BYTES)


def _read_international_text(content: bytes) -> Iterator[Found]:
    keyword, _, rest = content.partition(b"\0")
    if keyword == _XMP:
        is_compressed = rest[:1] == b"\1"
        text = rest[2:].split(b"\0", 2)[-1]
        yield "xmp", _inflate(text, MAX_READ_BYTES) if is_compressed else text


def _read_text(content: bytes) -> Iterator[Found]:
    keyword, _, text = content.partition(b"\0")
    if keyword.startswith(_RAW):
        yield from _read_raw(keyword.removeprefix(_RAW), text)


def _read_compressed_text(content: bytes) -> Iterator[Found]:
    keyword, _, rest = content.partition(b"\0")
    if keyword.startswith(_RAW):
        yield from _read_raw(keyword.removeprefix(_RAW), _inflate(rest[1:], _MAX_RAW_BYTES))


_READERS: dict[bytes, Callable[[bytes], Iterator[Found]]] = {
    b"eXIf": _read_exif,
    b"iCCP": _read_profile,
    b"iTXt": _read_international_text,
    b"tEXt": _read_text,
    b"zTXt": _read_compressed_text,
}


def _read_raw(kind: bytes, text: bytes) -> Iterator[Found]:
    """Yield what hexadecimal text behind a name and a number of bytes holds."""
    try:
        content = bytes.fromhex(text[:_MAX_RAW_BYTES].split(None, 2)[2].decode("ascii"))
    except (IndexError, ValueError):
        content = b""
    if kind == b"exif" or content.startswith(_EXIF_PREFIX):
        yield "exif", content.removeprefix(_EXIF_PREFIX)
    elif kind == b"xmp" or content.startswith(_XMP_PREFIX):
        yield "xmp", content.removeprefix(_XMP_PREFIX)
    elif kind == b"iptc":
        yield "iptc", find_iptc(content) or content


def _inflate(compressed: bytes, limit: int) -> bytes:
    """Return inflated data; empty if it is damaged or larger than the limit."""
    stream = isal_zlib.decompressobj()
    try:
        inflated: bytes = stream.decompress(compressed, limit)
    except IsalError:  # type: ignore[misc]
        return b""
    return inflated if stream.eof else b""


def insert_into_png(data: bytes, metadata: Metadata) -> bytes:
    """Return a PNG file with chunks for metadata behind its header; all else is as it was."""
    made = [*_chunks(metadata)]
    return b"".join((data[:_HEADER_END], *made, data[_HEADER_END:])) if made else data


def _chunks(metadata: Metadata) -> Iterator[bytes]:
    if metadata.icc:
        yield chunk(b"iCCP", b"icc\0\0" + isal_zlib.compress(metadata.icc, 3))
    if metadata.exif:
        yield chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield chunk(b"iTXt", _XMP + bytes(5) + metadata.xmp)
    if metadata.iptc:
        resource = make_resource(metadata.iptc)
        yield chunk(b"tEXt", b"%siptc\0\niptc\n%8d\n%s\n" % (_RAW, len(resource), resource.hex("\n", 36).encode()))
