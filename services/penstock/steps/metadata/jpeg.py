"""JPEG segments with metadata: found in a file, and put into one.

EXIF, section 4.7; XMP, part 3, section 3; ICC.1:2022, annex B.4. What XMP puts into further segments is not read.
"""

from collections.abc import Iterator

from penstock.common.headers.jpeg import jpeg_segments
from penstock.steps.image import Metadata
from penstock.steps.metadata.icc import MAX_BYTES as MAX_PROFILE_BYTES
from penstock.steps.metadata.iptc import find_iptc, make_resource

_APP0, _APP1, _APP2, _APP13 = 0xE0, 0xE1, 0xE2, 0xED
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_ICC = b"ICC_PROFILE\0"
_MAX_RESOURCE_SEGMENTS = 100
_MAX_CONTENT_BYTES = 65_533
_PROFILE_PIECE_BYTES = _MAX_CONTENT_BYTES - len(_ICC) - 2


def find_in_jpeg(data: bytes) -> Metadata:
    """Return what the segments before a JPEG file's pixels hold, as it is; the first EXIF and XMP count."""
    exif = xmp = b""
    resources: list[bytes] = []
    profile: list[bytes] = []
    for marker, start, end in jpeg_segments(data):
        if marker == _APP1 and not exif and data.startswith(_EXIF, start, end):
            exif = data[start + len(_EXIF) : end]
        elif marker == _APP1 and not xmp and data.startswith(_XMP, start, end):
            xmp = data[start + len(_XMP) : end]
        elif marker == _APP13 and data.startswith(_PHOTOSHOP, start, end):
            resources.append(data[start + len(_PHOTOSHOP) : end])
        elif marker == _APP2 and data.startswith(_ICC, start, end):
            profile.append(data[start + len(_ICC) : end])
        elif marker == _SOS:
            break
    return Metadata(
        exif=exif, xmp=xmp, iptc=find_iptc(b"".join(resources[:_MAX_RESOURCE_SEGMENTS])), icc=_join_profile(profile)
    )


_SOS = 0xDA


def _join_profile(pieces: list[bytes]) -> bytes:
    """Return a profile from its pieces, each with its number and their count; a fragment if one is missing."""
    if sum(map(len, pieces)) > MAX_PROFILE_BYTES + 2 * len(pieces):
        return pieces[0][:2]
    pieces = sorted(pieces, key=lambda piece: piece[:1])
    expected = [bytes((number, len(pieces))) for number in range(1, len(pieces) + 1)]
    if [piece[:2] for piece in pieces] != expected:
        return pieces[0][:2]
    return b"".join(piece[2:] for piece in pieces)


def insert_into_jpeg(data: bytes, metadata: Metadata) -> bytes:
    """Return a JPEG file with segments for metadata, behind its JFIF segment if it has one; all else is as it was."""
    segments = [*_segments(metadata)]
    if not segments:
        return data
    start = 2
    if data[2:4] == bytes((0xFF, _APP0)):
        start += 2 + int.from_bytes(data[4:6], "big")
    return b"".join((data[:start], *segments, data[start:]))


def _segments(metadata: Metadata) -> Iterator[bytes]:
    if metadata.exif:
        yield _segment(_APP1, _EXIF + metadata.exif)
    if metadata.xmp:
        yield _segment(_APP1, _XMP + metadata.xmp)
    if metadata.iptc:
        yield _segment(_APP13, _PHOTOSHOP + make_resource(metadata.iptc))
    pieces = range(0, len(metadata.icc), _PROFILE_PIECE_BYTES)
    for number, start in enumerate(pieces, start=1):
        piece = metadata.icc[start : start + _PROFILE_PIECE_BYTES]
        yield _segment(_APP2, _ICC + bytes((number, len(pieces))) + piece)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
