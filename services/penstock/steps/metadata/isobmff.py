"""AVIF and HEIC items with metadata, found in a file by its boxes.

ISO/IEC 14496-12, sections 8.11.3 (`iloc`) and 8.11.6 (`iinf`), and ISO/IEC 23008-12, annex A.
"""

from collections.abc import Iterator

from penstock.common.headers.isobmff import boxes, read_properties
from penstock.steps.image import Metadata

_EXIF_PREFIX = b"Exif\0\0"
_EXIF_ITEM, _MIME_ITEM = b"Exif", b"mime"
_XMP_TYPE = b"application/rdf+xml"
_PROFILE_TYPES = (b"prof", b"rICC")
_MAX_ITEMS = 10_000
"""Limit on items, and on the pieces of all together; a photograph in tiles has a hundred."""
_MAX_ITEM_BYTES = 1024 * 1024
_UNREADABLE = b"?"
_IN_FILE, _IN_META = 0, 1
"""Where an item may be: at an offset in the file, or in the `idat` box beside its description."""


def find_in_isobmff(data: bytes) -> Metadata:
    """Return what an AVIF or HEIC file's items hold, as it is; of each kind the first.

    Raises:
        ImageError, ValueError: the boxes are damaged.
    """
    meta = next((content for kind, content in boxes(data, top=True) if kind == b"meta"), b"")
    children = dict(reversed([*boxes(meta[4:])]))
    names = dict(reversed([*_item_names(children.get(b"iinf", b""))]))
    wanted = {names[name]: name for name in (_EXIF_ITEM, _XMP_TYPE) if name in names}
    found: dict[bytes, bytes] = {}
    for item, method, pieces in _locations(children.get(b"iloc", b"")) if wanted else ():
        if item in wanted:
            source = {_IN_FILE: data, _IN_META: children.get(b"idat", b"")}.get(method, b"")
            found[wanted[item]] = _join(source, pieces)
    profiles = (content[4:] for kind, content in read_properties(data).own if _is_profile(kind, content))
    return Metadata(exif=_unwrap(found.get(_EXIF_ITEM, b"")), xmp=found.get(_XMP_TYPE, b""), icc=next(profiles, b""))


def _join(source: bytes, pieces: list[tuple[int, int]]) -> bytes:
    if sum(size for _, size in pieces) > _MAX_ITEM_BYTES:
        return _UNREADABLE
    return b"".join(source[start : start + size] for start, size in pieces) or _UNREADABLE


def _is_profile(kind: bytes, content: bytes) -> bool:
    return kind == b"colr" and content.startswith(_PROFILE_TYPES)


def _unwrap(item: bytes) -> bytes:
    """Return the TIFF structure in an EXIF item, which begins with how many bytes stand before it."""
    return item[4 + int.from_bytes(item[:4], "big") :].removeprefix(_EXIF_PREFIX) or item


def _item_names(iinf: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the kind of each item, of one with a media type that, and its number."""
    for kind, content in boxes(iinf[6 if iinf[:1] == b"\0" else 8 :]):
        if kind != b"infe" or content[:1] not in (b"\2", b"\3"):
            continue
        end = 6 if content[0] == 2 else 8
        name = content[end + 2 : end + 6]
        if name == _MIME_ITEM:
            name = content[end + 6 :].partition(b"\0")[2].partition(b"\0")[0]
        yield name, int.from_bytes(content[4:end], "big")


def _locations(iloc: bytes) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield each item's number, where it is, and offset and size of its pieces."""
    reader = _Numbers(iloc)
    version = reader.read(1)
    reader.skip(3)
    sizes = reader.read(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    wide = 4 if version == 2 else 2
    left = _MAX_ITEMS
    for _ in range(min(reader.read(wide), _MAX_ITEMS)):
        item = reader.read(wide)
        method = reader.read(2) & 15 if version else _IN_FILE
        reader.skip(2)
        base = reader.read(base_bytes)
        pieces = []
        for _ in range(min(reader.read(2), left)):
            reader.skip(index_bytes if version else 0)
            offset = base + reader.read(offset_bytes)
            pieces.append((offset, reader.read(length_bytes)))
        left -= len(pieces)
        yield item, method, pieces


class _Numbers:
    """Reads unsigned numbers of 0 to 15 bytes one after the other. Raises ValueError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, size: int) -> int:
        self.skip(size)
        return int.from_bytes(self._data[self._position - size : self._position], "big")

    def skip(self, size: int) -> None:
        self._position += size
        if self._position > len(self._data):
            raise ValueError("the file's iloc box is too short")
