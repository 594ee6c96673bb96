"""Segments: the strips and tiles of a TIFF file, decompressed.

Deflate, JPEG and WebP go straight to their libraries. LZW, PackBits, LZMA and Zstandard are the work of Pillow's
libtiff, which gets a file made of the compressed bytes alone, as rows of grey pixels: what the bytes mean is decided
here, for every compression and byte order alike. OpenCV's libtiff says nothing of damaged data.
"""

import ctypes
import io
import struct
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import simplejpeg
from isal import isal_zlib
from isal.igzip_lib import IsalError

from penstock.common.image_header import corrupt, read_header, truncated
from penstock.steps.formats.jpeg_repair import check_number_of_scans, check_scans
from penstock.steps.image import Pixels
from penstock.steps.tiff.layout import DEFLATE, JPEG, NONE, RGB, Layout


def decompress(compressed: Sequence[bytes], rows: int, layout: Layout, last_rows: int | None = None) -> Pixels:
    """Return segments of `rows` rows each, the last of `last_rows`, as bytes below each other: `R×row_bytes uint8`.

    An empty segment is one that was not written (sparse files): zeros.

    Raises:
        ImageError: `truncated_image` or `corrupt_image`.
    """
    sizes = [rows * layout.row_bytes] * len(compressed)
    if last_rows is not None:
        sizes[-1] = last_rows * layout.row_bytes
    if layout.compression == NONE:
        content = b"".join(_checked(data, size) for data, size in zip(compressed, sizes, strict=True))
    elif layout.compression == DEFLATE:
        content = b"".join(_inflate(data, size) for data, size in zip(compressed, sizes, strict=True))
    else:
        return _decompress_by_libtiff(compressed, sizes, layout)
    return np.frombuffer(content, np.uint8).reshape(-1, layout.row_bytes)


def _checked(data: bytes, size: int) -> bytes:
    if not data:
        return bytes(size)
    if len(data) < size:
        raise truncated(f"the TIFF file has {len(data)} bytes of pixels in a strip or tile; {size} are needed")
    return data[:size]


def _inflate(data: bytes, size: int) -> bytes:
    if not data:
        return bytes(size)
    try:
        content: bytes = isal_zlib.decompressobj().decompress(data, size)
    except IsalError as error:  # type: ignore[misc]
        raise corrupt(f"the TIFF file is damaged: its pixels cannot be decompressed ({error})") from error
    return _checked(content or b"\0", size)


def _decompress_by_libtiff(compressed: Sequence[bytes], sizes: Sequence[int], layout: Layout) -> Pixels:
    parts = []
    for first, after in _runs(compressed):
        rows = sum(sizes[first:after]) // layout.row_bytes
        if compressed[first]:
            parts.append(_read_rows(compressed[first:after], sizes[first] // layout.row_bytes, rows, layout))
        else:
            parts.append(np.zeros((rows, layout.row_bytes), np.uint8))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _runs(compressed: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return (first, after) of the segments that follow each other with content, and of those without."""
    edges = [0, *(at for at in range(1, len(compressed)) if bool(compressed[at]) != bool(compressed[at - 1]))]
    return [*zip(edges, [*edges[1:], len(compressed)], strict=True)]


@cache
def _silence_libtiff() -> None:
    """Keep Pillow's libtiff from printing to stderr what it finds in damaged files; errors are raised all the same."""
    import PIL._imaging

    try:
        set_handler = ctypes.CDLL(PIL._imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):  # linked in another way
        return
    set_handler.argtypes, set_handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
    set_handler(None)


def _read_rows(compressed: Sequence[bytes], rows_each: int, rows: int, layout: Layout) -> Pixels:
    import PIL.Image
    from PIL import TiffImagePlugin  # noqa: F401 (or Pillow may load fifty formats to find this one)

    _silence_libtiff()
    PIL.Image.MAX_IMAGE_PIXELS = None  # the size was checked; Pillow would count bytes as pixels
    file = _wrap(compressed, rows_each, rows, layout)
    try:
        with PIL.Image.open(io.BytesIO(file), formats=("TIFF",)) as picture:
            made = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, TypeError, struct.error) as error:
        raise corrupt(f"the TIFF file is damaged: its pixels cannot be decompressed ({error})") from error
    if made.shape != (rows, layout.row_bytes) or made.dtype != np.uint8:
        raise corrupt("the TIFF file is damaged: its pixels cannot be decompressed")
    return made


_SHORT, _LONG = 3, 4


def _wrap(compressed: Sequence[bytes], rows_each: int, rows: int, layout: Layout) -> bytes:
    """Return a TIFF file of grey pixels, one for each byte of a row, in strips of the given content."""
    count = len(compressed)
    lists = 8 + 2 + 9 * 12 + 4
    content = lists + 8 * count
    sizes = [len(data) for data in compressed]
    offsets = [content + before for before in np.cumsum([0, *sizes[:-1]]).tolist()]
    entries = [
        (256, _LONG, 1, layout.row_bytes),
        (257, _LONG, 1, rows),
        (258, _SHORT, 1, 8),
        (259, _SHORT, 1, layout.compression),
        (262, _SHORT, 1, 1),
        (273, _LONG, count, lists if count > 1 else offsets[0]),
        (277, _SHORT, 1, 1),
        (278, _LONG, 1, rows_each),
        (279, _LONG, count, lists + 4 * count if count > 1 else sizes[0]),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    values = struct.pack(f"<{2 * count}I", *offsets, *sizes)
    return b"".join((struct.pack("<2sHIH", b"II", 42, 8, len(entries)), directory, bytes(4), values, *compressed))


_TABLES_END = b"\xff\xd9"
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"


def read_picture(data: bytes, rows: int, layout: Layout, tables: bytes) -> Pixels:
    """Return a segment that is a JPEG or WebP picture, `rows×segment_width×samples uint8`, in RGB order.

    `tables` is the JPEG with the tables that all segments share; empty if there are none.

    Raises:
        ImageError: `truncated_image` or `corrupt_image`.
    """
    shape = (rows, layout.segment_width, layout.segment_samples)
    if not data:
        return np.zeros(shape, np.uint8)
    if layout.compression == JPEG:
        data = _complete(data, tables, layout)
    header = read_header(data)
    if (header.width, header.height) != (layout.segment_width, rows):
        raise corrupt(f"the TIFF file has a strip or tile of {header.width}x{header.height} pixels within")
    made = _decode_jpeg(data, header.components) if layout.compression == JPEG else _decode_webp(data, shape[2])
    if made.shape != shape:
        raise corrupt(f"the TIFF file has a strip or tile of {made.shape[2]} channels; accepted are {shape[2]}")
    return made


def _complete(data: bytes, tables: bytes, layout: Layout) -> bytes:
    """Return a JPEG file of a segment, the shared tables and a marker that says whether the colours are RGB."""
    shared = tables[2:].removesuffix(_TABLES_END)
    adobe = _ADOBE + bytes([layout.photometric != RGB]) if layout.segment_samples == 3 else b""
    return b"".join((data[:2], adobe, shared, data[2:]))


def _decode_jpeg(data: bytes, components: int) -> Pixels:
    if components not in (1, 3):
        raise corrupt(f"the TIFF file has a JPEG of {components} components within; accepted are 1 and 3")
    header = read_header(data)
    if header.scans == "several":
        check_number_of_scans(data, header)
        check_scans(data, header.data_start)
    try:
        return simplejpeg.decode_jpeg(data, "RGB" if components == 3 else "GRAY")  # type: ignore[no-any-return]
    except ValueError as error:
        raise corrupt(f"the TIFF file is damaged: {error}") from error


def _decode_webp(data: bytes, channels: int) -> Pixels:
    try:
        made = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise corrupt(f"the TIFF file is damaged: {error.err}") from error
    if made is None or made.ndim != 3:
        raise corrupt("the TIFF file is damaged: a WebP picture within cannot be decoded")
    if channels == 4 and made.shape[2] == 3:  # an opaque tile
        made = cv2.cvtColor(made, cv2.COLOR_BGR2BGRA)
    return cv2.cvtColor(made, cv2.COLOR_BGRA2RGBA if made.shape[2] == 4 else cv2.COLOR_BGR2RGB)
