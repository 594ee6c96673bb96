"""Layout: how a TIFF file stores the pixels of a page, in strips or tiles.

https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from dataclasses import dataclass
from typing import Literal

from penstock.common.headers.tiff import BITS, COMPRESSION, HEIGHT, PHOTOMETRIC, SAMPLES, WIDTH, Directory
from penstock.common.image_header import corrupt, truncated, unsupported
from penstock.common.model.errors import ImageCode, ImageError

NONE, LZW, JPEG, DEFLATE, PACK_BITS, LZMA, ZSTANDARD, WEBP = 1, 5, 7, 8, 32_773, 34_925, 50_000, 50_001
_DEFLATE_ONCE = 32_946
_COMPRESSIONS = {NONE, LZW, JPEG, DEFLATE, _DEFLATE_ONCE, PACK_BITS, LZMA, ZSTANDARD, WEBP}
_COMPRESSION_NAMES = {
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    6: "old JPEG",
    34_712: "JPEG 2000",
    34_887: "LERC",
    34_925: "LZMA",
    50_000: "Zstandard",
}
PICTURES = {JPEG, WEBP}
"""Compressions whose segments are pictures of their own."""

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3}
_COLOUR_NAMES = {4: "a mask", 8: "CIE Lab", 9: "ICC Lab", 10: "ITU Lab", 32_844: "LogL", 32_845: "LogLuv"}
ASSOCIATED, UNASSOCIATED = 1, 2

_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_FILL_ORDER, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 266, 332, 338, 339
_CMYK = 1
_SEPARATE = 2
_MAX_SAMPLES = 16
_MAX_PADDED_PIXELS = 1 << 24
_MAX_STORED_BYTES = 1 << 26
"""Bytes of a row of tiles, or of a strip, that any image may have; larger images may have those of their own size."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a page. `segments` are the offset and size of each strip or tile, plane by plane.

    Strips are segments as wide as the image; a `segment_height` below the last row is cut off for strips, and padded
    for tiles. `alpha` is the index of the sample with transparency.
    """

    width: int
    height: int
    samples: int
    bits: int
    order: Literal["<", ">"]
    photometric: int
    compression: int
    predicted: bool
    separate: bool
    tiled: bool
    segment_width: int
    segment_height: int
    segments: list[tuple[int, int]]
    alpha: int | None
    premultiplied: bool

    @property
    def across(self) -> int:
        return -(-self.width // self.segment_width)

    @property
    def down(self) -> int:
        return -(-self.height // self.segment_height)

    @property
    def colours(self) -> int:
        return _COLOURS[self.photometric]

    @property
    def segment_samples(self) -> int:
        """Samples of each pixel within one segment."""
        return 1 if self.separate else self.samples

    @property
    def row_bytes(self) -> int:
        """Bytes of a segment's row."""
        return (self.segment_width * self.segment_samples * self.bits + 7) // 8

    def rows_of(self, index: int) -> int:
        """Return the rows that are stored in each segment of a row of segments."""
        if self.tiled:
            return self.segment_height
        return min(self.segment_height, self.height - index * self.segment_height)


def read_layout(directory: Directory) -> Layout:
    """Read a page's layout, and check it.

    Raises:
        ImageError: `unsupported_type` or `unsupported_colorspace` for what cannot be read, `corrupt_image`, or
            `truncated_image`.
    """
    width, height, samples = (directory.number(tag, 1) for tag in (WIDTH, HEIGHT, SAMPLES))
    bits = _read_bits(directory, samples)
    photometric = _read_photometric(directory, samples)
    compression = directory.number(COMPRESSION, NONE)
    if compression not in _COMPRESSIONS:
        raise unsupported(
            f"TIFF with compression {_COMPRESSION_NAMES.get(compression, compression)} is not supported; "
            "accepted are none, LZW, deflate, PackBits, JPEG, LZMA, Zstandard and WebP"
        )
    if photometric == YCBCR and compression != JPEG:
        raise _unsupported_colours("YCbCr without JPEG compression")
    if photometric == SEPARATED and compression in PICTURES:
        raise _unsupported_colours("CMYK in JPEG or WebP compression")
    tiled = _TILE_WIDTH in directory.entries
    segment_width = directory.number(_TILE_WIDTH, 0) if tiled else width
    segment_height = (
        directory.number(_TILE_HEIGHT, 0) if tiled else min(directory.number(_ROWS_PER_STRIP, height), height)
    )
    alpha, premultiplied = _read_alpha(directory, samples, photometric)
    layout = Layout(
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        order=directory.order,
        photometric=photometric,
        compression=DEFLATE if compression == _DEFLATE_ONCE else compression,
        predicted=_read_predictor(directory, bits),
        separate=samples > 1 and directory.number(_PLANAR, 1) == _SEPARATE,
        tiled=tiled,
        segment_width=segment_width,
        segment_height=segment_height if tiled else min(segment_height, height),
        segments=_read_segments(directory, tiled=tiled),
        alpha=alpha,
        premultiplied=premultiplied,
    )
    _check(layout, directory)
    return layout


def _read_bits(directory: Directory, samples: int) -> int:
    bits = directory.numbers(BITS, (1,))
    formats = {*directory.numbers(_SAMPLE_FORMAT, (1,))}
    if not 0 < samples <= _MAX_SAMPLES or len({*bits[:samples]}) != 1:
        shown = ", ".join(map(str, bits[:4]))
        raise unsupported(
            f"TIFF with {samples} channels of {shown} bits is not supported; accepted are 1 to 16 of equal bits"
        )
    if bits[0] not in (1, 2, 4, 8, 16) or not formats <= {1, 4}:
        kind = {2: "signed", 3: "floating-point"}.get(max(formats), "unsigned")
        raise unsupported(
            f"TIFF with {kind} values of {bits[0]} bits is not supported; accepted are unsigned ones of 1 to 8, or 16"
        )
    if directory.number(_FILL_ORDER, 1) != 1:
        raise unsupported("TIFF with reversed bits (FillOrder 2) is not supported")
    return bits[0]


def _read_photometric(directory: Directory, samples: int) -> int:
    photometric = directory.number(PHOTOMETRIC, MIN_IS_BLACK)
    if photometric not in _COLOURS:
        raise _unsupported_colours(_COLOUR_NAMES.get(photometric, f"photometric interpretation {photometric}"))
    if photometric == SEPARATED and directory.number(_INK_SET, _CMYK) != _CMYK:
        raise _unsupported_colours("inks other than CMYK")
    if samples < _COLOURS[photometric]:
        raise corrupt(f"the TIFF header has {samples} channels; its colours need {_COLOURS[photometric]}")
    return photometric


def _unsupported_colours(name: str) -> ImageError:
    message = f"TIFF with {name} is not supported; accepted are grey, RGB, CMYK, palettes, and YCbCr in JPEG"
    return ImageError(ImageCode.UNSUPPORTED_COLORSPACE, message)


def _read_predictor(directory: Directory, bits: int) -> bool:
    predictor = directory.number(_PREDICTOR, 1)
    if predictor not in (1, 2) or (predictor == 2 and bits < 8):
        raise unsupported(f"TIFF with predictor {predictor} for {bits} bits is not supported")
    return predictor == 2


def _read_alpha(directory: Directory, samples: int, photometric: int) -> tuple[int | None, bool]:
    if photometric == SEPARATED:  # becomes sRGB, which is no colour to be multiplied
        return None, False
    extras = directory.numbers(_EXTRA_SAMPLES)
    for number, kind in enumerate(extras[: samples - _COLOURS[photometric]]):
        if kind in (ASSOCIATED, UNASSOCIATED):
            return _COLOURS[photometric] + number, kind == ASSOCIATED
    return None, False


def _read_segments(directory: Directory, *, tiled: bool) -> list[tuple[int, int]]:
    offsets = directory.numbers(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    sizes = directory.numbers(_TILE_BYTES if tiled else _STRIP_BYTES)
    if not sizes and len(offsets) == 1:
        sizes = (max(0, len(directory.data) - offsets[0]),)
    if not offsets or len(offsets) != len(sizes):
        raise corrupt(f"the TIFF file has {len(offsets)} offsets and {len(sizes)} sizes of its pixels")
    return [*zip(offsets, sizes, strict=True)]


def _check(layout: Layout, directory: Directory) -> None:
    if not layout.segment_width or not layout.segment_height:
        raise corrupt(f"the TIFF header has tiles of {layout.segment_width}x{layout.segment_height} pixels")
    padded = layout.across * layout.segment_width * layout.down * layout.segment_height
    if padded > max(_MAX_PADDED_PIXELS, 4 * layout.width * layout.height):
        raise corrupt(
            f"the TIFF header has {layout.width}x{layout.height} pixels"
            f" in tiles of {layout.segment_width}x{layout.segment_height}"
        )
    stored = layout.across * layout.segment_height * layout.row_bytes
    if stored > max(_MAX_STORED_BYTES, 8 * layout.width * layout.height):
        raise unsupported(f"TIFF with strips or tiles of {stored} bytes is not supported; smaller ones are")
    needed = layout.across * layout.down * (layout.samples if layout.separate else 1)
    if len(layout.segments) < needed:
        raise corrupt(f"the TIFF file has {len(layout.segments)} strips or tiles; its image needs {needed}")
    size = len(directory.data)
    if sum(length for _, length in layout.segments) > size:
        ends = max(offset + length for offset, length in layout.segments)
        raise truncated(f"the TIFF file ends after {size} bytes; its pixels end at {ends}")
    if any(offset + length > size for offset, length in layout.segments):
        raise truncated(f"the TIFF file ends after {size} bytes, within its pixels")
