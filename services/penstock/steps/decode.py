"""Decode: a JPEG or PNG file becomes an array of pixels, after every limit is checked.

The pixels equal those of `cv2.imdecode(data, cv2.IMREAD_COLOR)` of the same OpenCV, with the orientation applied once.
OpenCV's rules for alpha, 16 bits, palettes and greys apply; `docs/decisions/` lists them. Unlike OpenCV, it refuses
files that are visibly truncated or damaged, instead of filling the rest with grey.
"""

import re

import cv2
import numpy as np
import simplejpeg

from penstock.common.image_header import Header, corrupt, read_header, truncated
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.image import Image, Metadata, Pixels
from penstock.steps.png.file import check_and_repack

MAX_SCAN_PIXELS = 5_000_000_000
"""Scans × pixels of a progressive JPEG; the dozen scans of an ordinary one with 50 Mpx come to a tenth of it."""


def decode(data: bytes, limits: Limits, params: Decode = Decode()) -> Image:  # noqa: B008 (frozen)
    """Return a JPEG or PNG file as an upright image, `H×W×3 uint8` in BGR order, with its regions.

    Raises:
        ImageError: `empty_file`, `too_large_file`, `unsupported_type`, `too_many_pixels`, `unsupported_colorspace`,
            `truncated_image` or `corrupt_image`; all but the last two are found before any pixel is decoded.
    """
    if not data:
        raise ImageError(ImageCode.EMPTY_FILE, "the file is empty")
    if len(data) > limits.max_file_bytes:
        raise ImageError(
            ImageCode.TOO_LARGE_FILE, f"the file has {len(data)} bytes; accepted are up to {limits.max_file_bytes}"
        )
    header = read_header(data)
    _check_size(header, limits)
    if header.type == "png":
        pixels = _imdecode(check_and_repack(data, header), cv2.IMREAD_COLOR)
    else:
        pixels = _apply_orientation(_decode_jpeg(data, header), header.orientation)
    height, width = pixels.shape[:2]
    return Image(pixels, Metadata(header.type, width, height), regions=params.regions)


def _check_size(header: Header, limits: Limits) -> None:
    width, height = header.width, header.height
    if width * height > limits.max_pixels:
        raise ImageError(
            ImageCode.TOO_MANY_PIXELS,
            f"the image has {width}x{height} = {width * height} pixels; accepted are up to {limits.max_pixels}",
        )
    if max(width, height) > limits.max_side:
        raise ImageError(
            ImageCode.TOO_MANY_PIXELS,
            f"the image has {width}x{height} pixels; accepted are sides of up to {limits.max_side}",
        )


def _decode_jpeg(data: bytes, header: Header) -> Pixels:
    if header.components not in (1, 3):
        raise ImageError(
            ImageCode.UNSUPPORTED_COLORSPACE,
            f"the JPEG file has {header.components} colour components (CMYK has 4); accepted are grey and colour",
        )
    if header.scans == "several":
        _check_scans(data, header)
    try:
        return simplejpeg.decode_jpeg(data, "BGR")  # type: ignore[no-any-return]
    except ValueError as error:
        return _decode_leniently(data, header, error)


def _check_scans(data: bytes, header: Header) -> None:
    """Refuse a file whose many scans, each over every pixel, would take minutes (libjpeg-turbo LJT-01-005)."""
    end = data.find(b"\xff\xd9", header.data_start)
    scans = data.count(b"\xff\xda", header.data_start, end if end >= 0 else len(data))
    if scans * header.width * header.height > MAX_SCAN_PIXELS:
        raise corrupt(f"the JPEG file has {scans} scans over {header.width}x{header.height} pixels, which is too many")


_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_PADDING_BYTES = 16


def _decode_leniently(data: bytes, header: Header, cause: ValueError) -> Pixels:
    """Decode a valid file that the strict decoder refused; raise for any other."""
    message = str(cause)
    padding = _PADDING.search(message)
    if padding and int(padding[1]) <= _MAX_PADDING_BYTES:  # some cameras pad the compressed pixels
        return simplejpeg.decode_jpeg(data, "BGR", strict=False)  # type: ignore[no-any-return]
    if "remature end" in message or data.find(b"\xff\xd9", header.data_start) < 0:
        raise truncated(f"the JPEG file ends before its pixels do: {message}") from cause
    if "subsampling" in message:  # ratios that OpenCV supports and the strict decoder doesn't
        return _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    raise corrupt(f"the JPEG file is damaged: {message}") from cause


def _imdecode(data: bytes, flags: int) -> Pixels:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise corrupt(f"the file cannot be decoded: {error.err}") from error
    if image is None:
        raise corrupt("the file cannot be decoded")
    return image


def _apply_orientation(image: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1 to 8, as OpenCV does."""
    if orientation >= 5:
        image = cv2.transpose(image)
    flip = _FLIPS.get(orientation)
    return image if flip is None else cv2.flip(image, flip)


_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""`cv2.flip` codes by EXIF orientation, after transposing 5 to 8."""
