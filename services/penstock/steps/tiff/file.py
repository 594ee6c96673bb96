"""TIFF files, written: strips compressed by deflate with prediction, and tags for metadata.

https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and its supplement 2 for deflate
"""

import struct
from collections.abc import Sequence

import cv2
import numpy as np
from isal import isal_zlib

from penstock.steps.image import Metadata, Pixels
from penstock.steps.metadata.tiff_structure import IMAGE, LONG, SHORT, Entry, Structure, read_structure, write_structure
from penstock.steps.tiff.geotiff import fit_geotiff
from penstock.steps.transform import Transform

_STRIP_BYTES = 256 * 1024
"""Pixels of a strip, so that a reader needs to decompress only what it shows."""

_BYTE, _UNDEFINED = 1, 7
_DEFLATE, _HORIZONTAL, _RGB, _UNASSOCIATED = 8, 2, 2, 2
_XMP, _IPTC, _ICC = 700, 33_723, 34_675
_STRIP_OFFSETS = 273


def make_tiff(pixels: Pixels, metadata: Metadata, transform: Transform | None) -> bytes:
    """Return a TIFF file of `H×W×3` pixels in BGR order, or `H×W×4`, `uint8` or `uint16`.

    EXIF's directories are merged into those of the file, whose byte order is EXIF's. `transform` maps positions of the
    source, to which GeoTIFF's tags refer, to these pixels.
    """
    exif = read_structure(metadata.exif) if metadata.exif else Structure("<", {})
    rows, strips = _compress(pixels, exif.order)
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    numbers = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [bits] * channels),
        (259, SHORT, [_DEFLATE]),
        (262, SHORT, [_RGB]),
        (277, SHORT, [channels]),
        (278, LONG, [rows]),
        (279, LONG, [len(strip) for strip in strips]),
        (284, SHORT, [1]),
        (317, SHORT, [_HORIZONTAL]),
        *([(338, SHORT, [_UNASSOCIATED])] if channels == 4 else []),
    ]
    entries = [_numbers(exif.order, *entry) for entry in numbers] + _metadata_entries(metadata)
    entries += fit_geotiff(metadata.geotiff, transform, exif.order)
    start = len(_write(exif, entries, [0] * len(strips)))
    offsets = [start + before for before in np.cumsum([0, *map(len, strips[:-1])]).tolist()]
    return b"".join((_write(exif, entries, offsets), *strips))


def _compress(pixels: Pixels, order: str) -> tuple[int, list[bytes]]:
    """Return the rows of a strip, and the strips."""
    height, width, channels = pixels.shape
    rows = max(1, min(height, _STRIP_BYTES // (width * channels * pixels.dtype.itemsize)))
    colours = cv2.COLOR_BGRA2RGBA if channels == 4 else cv2.COLOR_BGR2RGB
    strips = []
    for top in range(0, height, rows):
        strip: Pixels = cv2.cvtColor(pixels[top : top + rows], colours)
        predicted = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        stored = predicted.astype(f"{order}u{pixels.dtype.itemsize}", copy=False)
        strips.append(isal_zlib.compress(stored.tobytes(), 1))
    return rows, strips


def _numbers(order: str, tag: int, kind: int, values: Sequence[int]) -> Entry:
    content = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
    return Entry(tag, kind, len(values), content)


def _metadata_entries(metadata: Metadata) -> list[Entry]:
    contents = ((_XMP, _BYTE, metadata.xmp), (_IPTC, _UNDEFINED, metadata.iptc), (_ICC, _UNDEFINED, metadata.icc))
    return [Entry(tag, kind, len(content), content) for tag, kind, content in contents if content]


def _write(exif: Structure, entries: list[Entry], offsets: list[int]) -> bytes:
    own = [*entries, _numbers(exif.order, _STRIP_OFFSETS, LONG, offsets)]
    tags = {entry.tag for entry in own}
    image = [*own, *(entry for entry in exif.directories.get(IMAGE, ()) if entry.tag not in tags)]
    return write_structure(exif.order, exif.directories | {IMAGE: image})
