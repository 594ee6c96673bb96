"""Pictures become files: JPEG as OpenCV writes it, PNG smaller than OpenCV's and several times faster.

What was measured stands in `docs/decisions/`. No result carries metadata.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from isal import isal_zlib

from penstock.common.errors import ImageCode, ImageError
from penstock.common.operations import Encode
from penstock.steps.image import Image
from penstock.steps.pngfile import make_png
from penstock.steps.pngrows import ALL_FILTERS, PAETH, SUB, UP, filter_rows, needed_filters, pad_rows


def encode(image: Image, params: Encode) -> bytes:
    """Write an `H×W×3 uint8` BGR picture as the bytes of a JPEG or PNG file, the same for the same picture.

    Raises:
        ImageError: `parameter_not_applicable` where the format cannot hold the picture, `internal` where it is none.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            ImageCode.INTERNAL, f"an array of {image.dtype} {image.shape} is not a picture; accepted is uint8 (H, W, 3)"
        )
    return _encode_png(image, params.effort) if params.format == "png" else _encode_jpeg(image, params.quality)


def _encode_jpeg(image: Image, quality: int) -> bytes:
    height, width, _ = image.shape
    if max(width, height) > 65_500:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"{width}x{height} pixels do not fit in a JPEG; accepted are 65500 a side",
        )
    return _imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _imencode(extension: str, image: Image, parameters: list[int]) -> bytes:
    _, encoded = cv2.imencode(extension, image, parameters)
    return encoded.tobytes()


_CLEARLY_SMALLER = 0.95
"""Below this share of OpenCV's estimated size a file is smaller, whatever the estimate's error: 3 % too little to 11 %
too much over 500 pictures."""

_SMALL_BYTES = 32 * 1024
"""Pixels up to which every way is tried: it takes hardly longer than estimating."""


def _encode_png(image: Image, effort: int) -> bytes:
    height, width, _ = image.shape
    padded = pad_rows(image)
    rows = filter_rows(padded, _filters(padded, effort))
    compressed = _deflate_near(rows)
    if effort == 3:
        compressed = min(compressed, _deflate_zlib(rows, 4, zlib.Z_FILTERED), key=len)
    if effort < 2:
        return make_png(width, height, compressed)
    estimate = _estimate_opencv_bytes(padded)
    if len(compressed) > _CLEARLY_SMALLER * estimate:
        compressed = min(compressed, _deflate_zlib(rows, 1, zlib.Z_RLE), key=len)
    png = make_png(width, height, compressed)
    return png if len(compressed) <= estimate else min(png, _imencode(".png", image, []), key=len)


def _filters(padded: Image, effort: int) -> tuple[int, ...]:
    if effort == 2:
        return needed_filters(padded)
    return ((UP,), (PAETH,), ALL_FILTERS)[min(effort, 2)]


_NEAR_WINDOW_BITS = 9


def _deflate_near(rows: Image) -> bytes:
    """Compress with ISA-L, matches no farther than 512 bytes back.

    In filtered photographs a match from farther away costs more bits than the few bytes that it stands for; the short
    window makes files 2 % smaller, up to 5 % on smooth ones.
    """
    return isal_zlib.compress(rows.data, 1, _NEAR_WINDOW_BITS)


def _deflate_zlib(rows: Image, level: int, strategy: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return stream.compress(rows.data) + stream.flush()


_SAMPLED_ROWS = 12
_STREAM_OVERHEAD_BYTES = 40


def _estimate_opencv_bytes(padded: Image) -> float:
    """Estimate what OpenCV's way (filter Sub, runs only) makes of the pixels; 0 where that is as quick to try."""
    height, row_bytes = padded.shape[0] - 1, padded.shape[1] - 3
    if height * row_bytes <= _SMALL_BYTES or height < 4 * _SAMPLED_ROWS:
        return 0
    step = height // _SAMPLED_ROWS
    sample = padded[step // 2 :: step]
    rows = np.full((len(sample), 1 + row_bytes), SUB, np.uint8)
    np.subtract(sample[:, 3:], sample[:, :-3], out=rows[:, 1:])
    sampled_bytes = len(_deflate_zlib(rows, 1, zlib.Z_RLE)) - _STREAM_OVERHEAD_BYTES
    return float(sampled_bytes * height / len(rows))
