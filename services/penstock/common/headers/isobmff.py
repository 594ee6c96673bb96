"""AVIF and HEIC headers: the boxes of ISO/IEC 14496-12 with the item properties of ISO/IEC 23008-12.

https://aomediacodec.github.io/av1-avif/
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.common.headers.base import Header, ImageType, corrupt, truncated
from penstock.common.model.errors import ImageError

MAX_BOXES = 4_096
"""Limit on the boxes within one box, and on a file's associations of properties."""

_AVIF_BRANDS, _HEIC_BRANDS = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_SEQUENCE_BRANDS = {b"avis", b"hevc", b"hevx", b"msf1"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")

# (quarter turns anticlockwise, axis of the mirror that follows or None): EXIF orientation
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


def brands(head: bytes) -> list[bytes]:
    """Return the brands of a file's `ftyp` box, as far as the bytes reach; the major one first."""
    if head[4:8] != b"ftyp":
        return []
    content = head[8 : min(int.from_bytes(head[:4], "big"), 256)]
    return [content[:4], *(content[at : at + 4] for at in range(8, len(content) - 3, 4))]


def isobmff_type(head: bytes) -> ImageType | None:
    """Return `avif` or `heic` if a file that begins so is one. The major brand decides, then the others in order."""
    for brand in brands(head):
        if brand in _AVIF_BRANDS:
            return "avif"
        if brand in _HEIC_BRANDS:
            return "heic"
    return None


@dataclass(frozen=True, slots=True)
class Properties:
    """The properties of a file's primary item, and whether any item is a mask of transparency."""

    own: list[tuple[bytes, bytes]]
    has_alpha: bool

    def get(self, kind: bytes) -> bytes | None:
        return next((content for found, content in self.own if found == kind), None)


def read_isobmff_header(kind: ImageType, data: bytes) -> Header:
    """Read the header of an AVIF or HEIC file. Raises ImageError: `corrupt_image` or `truncated_image`."""
    try:
        properties = read_properties(data)
    except ImageError as error:
        raise ImageError(error.code, error.message.replace("the file", f"the {kind.upper()} file", 1)) from error
    size = properties.get(b"ispe")
    if size is None or len(size) < 12:
        raise corrupt(f"the {kind.upper()} file does not say the size of its image: ispe is missing")
    width, height = struct.unpack_from(">II", size, 4)
    if not width or not height:
        raise corrupt(f"the {kind.upper()} header has {width}x{height} pixels; accepted are 1 or more on each side")
    turns, mirror = properties.get(b"irot"), properties.get(b"imir")
    orientation = _ORIENTATIONS[turns[0] & 3 if turns else 0, mirror[0] & 1 if mirror else None]
    channels, depth = _channels(properties.get(b"pixi"), properties.get(b"av1C"))
    several = not _SEQUENCE_BRANDS.isdisjoint(brands(data[:256]))
    return Header(
        kind,
        width,
        height,
        channels + properties.has_alpha,
        depth,
        orientation,
        images="several" if several else "one",
    )


_HIGH_DEPTH, _TWELVE_BITS = 0x40, 0x20


def _channels(pixi: bytes | None, configuration: bytes | None) -> tuple[int, int]:
    """Return channels and bits of each: three of 8 if the file doesn't say. AV1's configuration counts first."""
    channels, depth = 3, 8
    if pixi is not None and len(pixi) >= 6 and pixi[4]:
        channels, depth = min(pixi[4], 3), max(pixi[5 : 5 + pixi[4]])
    if configuration is not None and len(configuration) >= 4:
        flags = configuration[2]
        depth = 8 if not flags & _HIGH_DEPTH else 12 if flags & _TWELVE_BITS else 10
    return channels, depth


def read_properties(data: bytes) -> Properties:
    """Read the properties of a file's primary item. Raises ImageError: `corrupt_image` or `truncated_image`."""
    meta = next((content for kind, content in boxes(data, top=True) if kind == b"meta"), None)
    if meta is None:
        raise corrupt("the file has no meta box")
    children = dict(reversed([*boxes(meta[4:])]))
    item = _primary_item(children.get(b"pitm", b""))
    within = dict(reversed([*boxes(children.get(b"iprp", b""))]))
    properties = [*boxes(within.get(b"ipco", b""))]
    try:
        indices = _associations(within.get(b"ipma", b""), item)
    except (struct.error, IndexError) as error:
        raise corrupt("the file's ipma box is too short") from error
    own = [properties[index - 1] for index in indices if 0 < index <= len(properties)]
    return Properties(own, any(kind == b"auxC" and content[4:].startswith(_ALPHA) for kind, content in properties))


def boxes(data: bytes, *, top: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of each box. `top`: stop at the media data, which nothing needs.

    Raises:
        ImageError: `truncated_image` for a box that reaches beyond the data, `corrupt_image` for too many.
    """
    position, end = 0, len(data)
    for _ in range(MAX_BOXES):
        if position + 8 > end:
            return
        size, head = int.from_bytes(data[position : position + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        elif size == 0:
            size = end - position
        kind = data[position + 4 : position + 8]
        if size < head:
            raise corrupt(f"the file has a box {kind!a} of {size} bytes")
        if position + size > end:
            if top and kind == b"mdat":
                return
            raise truncated(f"the file ends within its box {kind!a}")
        yield kind, data[position + head : position + size] if kind != b"mdat" else b""
        position += size
    raise corrupt(f"the file has more than {MAX_BOXES} boxes within one")


def _primary_item(pitm: bytes) -> int:
    size = 4 if pitm[:1] > b"\0" else 2
    if len(pitm) < 4 + size:
        raise corrupt("the file does not say which item is its image: pitm is missing")
    return int.from_bytes(pitm[4 : 4 + size], "big")


def _associations(ipma: bytes, item: int) -> list[int]:
    """Return the numbers of an item's properties, in order; 1 is the first."""
    version, wide = ipma[0], ipma[3] & 1
    (entries,) = struct.unpack_from(">I", ipma, 4)
    position = 8
    for _ in range(min(entries, MAX_BOXES)):
        (found,) = struct.unpack_from(">I" if version else ">H", ipma, position)
        position += 4 if version else 2
        count = ipma[position]
        numbers = struct.unpack_from(f">{count}{'H' if wide else 'B'}", ipma, position + 1)
        if found == item:
            return [number & (0x7FFF if wide else 0x7F) for number in numbers]
        position += 1 + count * (2 if wide else 1)
    raise corrupt("the file's image has no properties: its item is missing in ipma")
