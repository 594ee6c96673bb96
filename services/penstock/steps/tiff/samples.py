"""Samples: the stored values of a TIFF file become pixels in BGR or BGRA order."""

from collections.abc import Iterator

import numpy as np

from penstock.common.headers.tiff import Directory
from penstock.common.image_header import corrupt
from penstock.steps.image import Pixels
from penstock.steps.tiff.layout import MIN_IS_WHITE, PALETTE, PICTURES, Layout
from penstock.steps.tiff.segments import decompress, read_picture

_BAND_BYTES = 32 * 1024 * 1024
"""Stored bytes that are decompressed at once, if segments are not larger."""
_CHUNK_BYTES = 2 * 1024 * 1024
"""Stored bytes that become pixels at once: what else they need on the way is no more than a few times that."""

_JPEG_TABLES, _COLOUR_MAP = 347, 320


def read_pixels(directory: Directory, layout: Layout) -> Pixels:
    """Return a page's pixels: `H×W×3` in BGR order or `H×W×4`, `uint8` or `uint16`, colours not multiplied by alpha.

    Those of CMYK are `H×W×4` in this order, the highest value for all of an ink.

    Raises:
        ImageError: `truncated_image` or `corrupt_image`.
    """
    channels = 3 if layout.alpha is None and layout.colours < 4 else 4
    made = np.empty((layout.height, layout.width, channels), np.uint16 if layout.bits == 16 else np.uint8)
    palette = _read_palette(directory, layout) if layout.photometric == PALETTE else None
    for first, after in _bands(layout):
        for top, samples in _read_band(directory, layout, first, after):
            _colour_band(samples, layout, palette, made[top : top + len(samples)])
    return made


def _bands(layout: Layout) -> Iterator[tuple[int, int]]:
    """Yield (first, after) of the rows of segments that are read at once."""
    row = layout.across * layout.segment_height * layout.row_bytes
    step = max(1, _BAND_BYTES // row)
    for first in range(0, layout.down, step):
        yield first, min(first + step, layout.down)


def _read_band(directory: Directory, layout: Layout, first: int, after: int) -> Iterator[tuple[int, Pixels]]:
    """Yield some rows of segments in chunks, as the first row and the samples, `R×W×samples`.

    Samples that nothing needs are left out.
    """
    wanted = [*range(layout.colours), *([layout.alpha] if layout.alpha is not None else [])]
    top = first * layout.segment_height
    rows = min(after * layout.segment_height, layout.height) - top
    starts = [plane * layout.across * layout.down for plane in wanted] if layout.separate else [0]
    stored = [_read_segments(directory, layout, first, after, start) for start in starts]
    step = max(1, _CHUNK_BYTES // (layout.across * layout.row_bytes * len(stored)))
    for start in range(0, rows, step):
        parts = [_unpack(plane[start : min(start + step, rows)], layout)[:, : layout.width] for plane in stored]
        samples = np.concatenate(parts, axis=2) if layout.separate else parts[0]
        yield top + start, samples[:, :, wanted] if samples.shape[2] > len(wanted) else samples


def _read_segments(directory: Directory, layout: Layout, first: int, after: int, start: int) -> Pixels:
    """Return rows of segments: decompressed, `R×bytes`, or as values, `R×W×samples`, where they were put together."""
    places = layout.segments[start + first * layout.across : start + after * layout.across]
    compressed = [directory.data[offset : offset + size] for offset, size in places]
    rows, last_rows = layout.rows_of(first), layout.rows_of(after - 1)
    if layout.compression in PICTURES:
        tables = directory.content(_JPEG_TABLES)
        heights = [rows] * (len(compressed) - layout.across) + [last_rows] * layout.across
        parts = [read_picture(data, own, layout, tables) for data, own in zip(compressed, heights, strict=True)]
        stored = parts[0] if len(parts) == 1 else np.concatenate(parts)
    else:
        stored = decompress(compressed, rows, layout, last_rows)
    if layout.across == 1:
        return stored
    values = _unpack(stored, layout)
    shape = (after - first, layout.across, rows, layout.segment_width, layout.segment_samples)
    return values.reshape(shape).swapaxes(1, 2).reshape(-1, layout.across * layout.segment_width, shape[4])


def _unpack(rows: Pixels, layout: Layout) -> Pixels:
    """Return rows of bytes as values, `R×W×samples`, with prediction undone; values unchanged."""
    if rows.ndim == 3:
        return rows
    count = layout.segment_width * layout.segment_samples
    if layout.bits == 16:
        values = rows.view(f"{layout.order}u2").astype(np.uint16, copy=False)
    elif layout.bits == 8:
        values = rows
    else:
        bits = np.unpackbits(rows, axis=1)[:, : count * layout.bits]
        weights = 1 << np.arange(layout.bits - 1, -1, -1, dtype=np.uint8)
        values = (bits.reshape(len(rows), count, layout.bits) * weights).sum(axis=2, dtype=np.uint8)
    values = values.reshape(len(rows), layout.segment_width, layout.segment_samples)
    return np.cumsum(values, axis=1, dtype=values.dtype) if layout.predicted else values


def _read_palette(directory: Directory, layout: Layout) -> Pixels:
    """Return the colours of a palette, `N×3 uint8` in BGR order."""
    size = 1 << layout.bits
    values = np.array(directory.numbers(_COLOUR_MAP), np.uint32)
    if len(values) != 3 * size or layout.bits > 8:
        raise corrupt(f"the TIFF file has a palette of {len(values)} values; {3 * size} are needed")
    if values.max() > 255:  # as the standard has it; some files have 8 bits
        values >>= 8
    return np.ascontiguousarray(values.astype(np.uint8).reshape(3, size)[::-1].T)


def _colour_band(samples: Pixels, layout: Layout, palette: Pixels | None, made: Pixels) -> None:
    """Write samples as pixels."""
    spread = samples if layout.bits >= 8 else samples * np.uint8(255 // ((1 << layout.bits) - 1))
    if palette is not None:
        made[:, :, :3] = palette[samples[:, :, 0]]
    elif layout.colours == 1:
        made[:, :, :3] = ~spread[:, :, :1] if layout.photometric == MIN_IS_WHITE else spread[:, :, :1]
    elif layout.colours == 4:
        made[:] = spread
    else:
        made[:, :, :3] = spread[:, :, 2::-1]
    if layout.alpha is None:
        return
    made[:, :, 3] = spread[:, :, -1]
    if layout.premultiplied:
        made[:, :, :3] = _divided(made)


def _divided(pixels: Pixels) -> Pixels:
    """Return colours that were multiplied by alpha as they were before, rounded; black where they are invisible."""
    full = np.iinfo(pixels.dtype).max
    alpha = pixels[:, :, 3:].astype(np.uint32)
    colours = (pixels[:, :, :3] * np.uint32(full) + alpha // 2) // np.maximum(alpha, 1)
    return np.where(alpha > 0, np.minimum(colours, full), 0)
