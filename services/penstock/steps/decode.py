"""Decode: an image file becomes an array of pixels, after every limit is checked.

The pixels equal those of `cv2.imdecode` of the same OpenCV, with the orientation applied once. Profile,
transparency and depth are treated as the job wants; without alpha and in 8 bits the pixels are those of
`cv2.IMREAD_COLOR`. Unlike OpenCV, it refuses files that are visibly truncated or damaged, instead of filling the rest
with grey.
"""

from dataclasses import replace

import cv2

from penstock.common.image_header import (
    HEAD_BYTES,
    Header,
    ImageType,
    corrupt,
    image_type,
    read_header,
    unsupported,
)
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.colour.code_points import coded_profile
from penstock.steps.colour.normalise import normalise
from penstock.steps.formats.avif import read_avif
from penstock.steps.formats.heif import read_heic
from penstock.steps.formats.jpeg import read_jpeg
from penstock.steps.formats.png import read_png
from penstock.steps.formats.raw import Reader
from penstock.steps.formats.tiff import read_tiff
from penstock.steps.formats.webp import read_webp
from penstock.steps.image import Image, Pixels, weigh
from penstock.steps.metadata.read import read_metadata
from penstock.steps.transform import move_regions, scaling

_READERS: dict[ImageType, Reader] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "webp": read_webp,
    "tiff": read_tiff,
    "avif": read_avif,
    "heic": read_heic,
}


def decode(data: bytes, limits: Limits, params: Decode = Decode()) -> Image:  # noqa: B008 (frozen)
    """Return a file as an upright image with its regions; see `Pixels` for the form of its pixels.

    Where `params` ask for a scaled image, it may be a reduced one.

    Raises:
        ImageError: `empty_file`, `too_large_file`, `unsupported_type`, `too_many_pixels`, `unsupported_colorspace`,
            `truncated_image` or `corrupt_image`; all but the last two are found before any pixel is decoded.
    """
    if not data:
        raise ImageError(ImageCode.EMPTY_FILE, "the file is empty")
    if len(data) > limits.max_file_bytes:
        raise ImageError(
            ImageCode.TOO_LARGE_FILE, f"the file has {len(data)} bytes; {limits.accepted('max_file_bytes')}"
        )
    _check_type(data[:HEAD_BYTES], limits)
    header = read_header(data)
    _check_size(header, limits, params)
    metadata, dropped = read_metadata(data, header, params)
    raw = _READERS[header.type](data, header, params)
    if raw.pixels.shape[0] * raw.pixels.shape[1] > header.width * header.height:
        found = f"{raw.pixels.shape[1]}x{raw.pixels.shape[0]} pixels"
        raise corrupt(f"the file has {found}, and its header says {header.width}x{header.height}")
    named = params.profile != "drop" and not metadata.icc
    profile, unknown = coded_profile(data, header) if named else (metadata.icc, ())
    normal = normalise(raw.pixels, profile, raw.space, params)
    pixels = _apply_orientation(normal.pixels, raw.orientation)
    height, width = pixels.shape[:2]
    metadata = replace(metadata, width=width, height=height, icc=normal.profile)
    warnings = (*raw.warnings, *normal.warnings, *unknown, *dropped)
    image = Image(pixels, metadata, regions=params.regions, warnings=warnings)
    if raw.full_size is None:
        return image
    return _mark_as_reduced(image, raw.full_size[::-1] if raw.orientation >= 5 else raw.full_size)


def _mark_as_reduced(image: Image, full_size: tuple[int, int]) -> Image:
    """Return an upright image as the reduced one of an image of `full_size`, in whose pixels its regions are."""
    width, height = full_size
    transform = scaling(image.width / width, image.height / height)
    regions = (*move_regions(image.regions, transform, image.width, image.height),)
    metadata = replace(image.metadata, width=width, height=height)
    return replace(image, metadata=metadata, transform=transform, regions=regions, reduced=True)


def _check_type(head: bytes, limits: Limits) -> None:
    kind = image_type(head)
    if kind is None or kind not in limits.types:
        raise unsupported(f"the file is {limits.describe_refused(head)}")


def _check_size(header: Header, limits: Limits, params: Decode) -> None:
    width, height, weight = header.width, header.height, _weigh(header, params)
    if count_pixels(header, params) > limits.max_pixels:
        counted = "" if weight == 1 else f", which count {weight} times for their depth or transparency"
        raise ImageError(
            ImageCode.TOO_MANY_PIXELS,
            f"the image has {width}x{height} = {width * height} pixels{counted}; {limits.accepted('max_pixels')}",
        )
    if max(width, height) > limits.max_side:
        raise ImageError(
            ImageCode.TOO_MANY_PIXELS,
            f"the image has {width}x{height} pixels; accepted are sides of up to {limits.max_side} (PENSTOCK_MAX_SIDE)",
        )


def count_pixels(header: Header, params: Decode) -> int:
    """Return a file's pixels as the limit counts them, as far as its header tells."""
    return header.width * header.height * _weigh(header, params)


def _weigh(header: Header, params: Decode) -> int:
    """Return how many times a file's pixels count, as far as its header tells."""
    may_have_alpha = header.components in (2, 4) or header.type == "png"  # which has transparent colours, too
    return weigh(
        deep=params.depth == "keep" and header.bit_depth > 8,
        alpha=params.alpha == "keep" and header.type != "jpeg" and may_have_alpha,
    )


def _apply_orientation(image: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1 to 8, as OpenCV does."""
    if orientation >= 5:
        image = cv2.transpose(image)
    flip = _FLIPS.get(orientation)
    return image if flip is None else cv2.flip(image, flip)


_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""`cv2.flip` codes by EXIF orientation, after transposing 5 to 8."""
