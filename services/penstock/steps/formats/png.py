"""PNG: read by OpenCV after a check of the whole file; written smaller than by OpenCV, and several times faster.

`docs/decisions/` has the measurements.
"""

import zlib

import cv2
import numpy as np
from isal import isal_zlib

from penstock.common.image_header import Header
from penstock.common.model.operations import Decode, Encode
from penstock.steps.formats.opencv import imdecode, imencode
from penstock.steps.formats.raw import RawImage
from penstock.steps.image import Image, Pixels
from penstock.steps.png.file import check_and_repack, make_png
from penstock.steps.png.filters import ALL_FILTERS, PAETH, SUB, UP, filter_rows, needed_filters, pad_rows


def read_png(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of a PNG file, `H×W×3 uint8`, orientation applied. Raises ImageError as `Reader` does."""
    return RawImage(imdecode(check_and_repack(data, header), cv2.IMREAD_COLOR))


def write_png(image: Image, params: Encode) -> bytes:
    """Return an image, `H×W×3 uint8`, as a PNG file."""
    return _encode_png(image.pixels, params.effort)


def _encode_png(image: Pixels, effort: int) -> bytes:
    height, width, _ = image.shape
    padded = pad_rows(image)
    rows = filter_rows(padded, _filters(padded, effort))
    compressed = _deflate_near(rows)
    if effort == 3:
        compressed = min(compressed, _deflate_zlib(rows, 4, zlib.Z_FILTERED), key=len)
    if effort >= 2 and not _is_surely_smaller(compressed, padded):
        compressed = min(compressed, _deflate_zlib(rows, 1, zlib.Z_RLE), key=len)
        if not _is_surely_smaller(compressed, padded):
            return min(make_png(width, height, compressed), imencode(".png", image), key=len)
    return make_png(width, height, compressed)


def _filters(padded: Pixels, effort: int) -> tuple[int, ...]:
    if effort == 2:
        return needed_filters(padded)
    return ((UP,), (PAETH,), ALL_FILTERS)[min(effort, 2)]


_NEAR_WINDOW_BITS = 9


def _deflate_near(rows: Pixels) -> bytes:
    """Compress with ISA-L, matches no farther than 512 bytes back.

    In filtered photographs a more distant match costs more bits than the few bytes it replaces; the short window makes
    files 2 % smaller, smooth ones up to 5 %.
    """
    return isal_zlib.compress(rows.data, 1, _NEAR_WINDOW_BITS)


def _deflate_zlib(rows: Pixels, level: int, strategy: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return stream.compress(rows.data) + stream.flush()


_SMALL_BYTES = 32 * 1024
"""Up to this many bytes of pixels every encoder is tried: estimating would hardly be faster."""

_SAMPLES = ((12, 0.95), (48, 0.98))
"""Rows from which to estimate the size of OpenCV's file, and the share of it below which ours is certainly smaller.
Few rows first, then more. Over 500 images the estimates were at most 2 % too low, and 11 % and 5 % too high."""


def _is_surely_smaller(compressed: bytes, padded: Pixels) -> bool:
    """Return whether a file is smaller than OpenCV's would be, by an estimate of that one's size."""
    height, row_bytes = padded.shape[0] - 1, padded.shape[1] - 3
    if height * row_bytes <= _SMALL_BYTES or height < _SAMPLES[0][0]:
        return False
    return any(len(compressed) < share * _estimate_opencv_bytes(padded, rows) for rows, share in _SAMPLES)


_STREAM_OVERHEAD_BYTES = 40


def _estimate_opencv_bytes(padded: Pixels, sampled_rows: int) -> float:
    """Estimate the size of OpenCV's file (filter Sub, run-length matching) from rows spread over the image."""
    height = padded.shape[0] - 1
    step = max(1, height // sampled_rows)
    sample = padded[1 + step // 2 :: step]
    rows = np.full((len(sample), padded.shape[1] - 2), SUB, np.uint8)
    np.subtract(sample[:, 3:], sample[:, :-3], out=rows[:, 1:])
    sampled_bytes = len(_deflate_zlib(rows, 1, zlib.Z_RLE)) - _STREAM_OVERHEAD_BYTES
    return float(sampled_bytes * height / len(rows))
