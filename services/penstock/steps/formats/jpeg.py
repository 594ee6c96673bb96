"""JPEG: read by libjpeg-turbo in its strict mode, with OpenCV's pixels; written by OpenCV."""

import re
from collections.abc import Callable
from functools import partial
from itertools import takewhile

import cv2
import simplejpeg

from penstock.common.image_header import Header, corrupt, jpeg_segments, truncated
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode, Encode
from penstock.steps.colour.icc import ColourSpace
from penstock.steps.formats.jpeg_repair import check_number_of_scans, check_scans, rebuild, remove_padding
from penstock.steps.formats.opencv import captured_warnings, check_side, imdecode, imencode
from penstock.steps.formats.raw import RawImage
from penstock.steps.formats.reduction import find_reduction
from penstock.steps.image import Image, Pixels
from penstock.steps.metadata.jpeg import insert_into_jpeg
from penstock.steps.metadata.result import result_metadata


def read_jpeg(data: bytes, header: Header, params: Decode) -> RawImage:
    """Return the pixels of a JPEG file: `H×W×3 uint8` of grey and colour, `H×W×4` of CMYK and YCCK.

    They are those of a reduced image if `params` ask for that and the resize that follows needs no more.

    Raises:
        ImageError: as `Reader` does.
    """
    if header.components not in _SPACES:
        raise ImageError(
            ImageCode.UNSUPPORTED_COLORSPACE,
            f"the JPEG file has {header.components} colour components; accepted are 1 (grey), 3 and 4 (CMYK)",
        )
    if header.scans == "several":
        check_number_of_scans(data, header)
    space = _SPACES[header.components]
    decode = partial(
        simplejpeg.decode_jpeg, colorspace="CMYK" if space == "CMYK" else "BGR", **_least_size(header, params)
    )
    warnings: tuple[str, ...] = ()
    try:
        pixels = _decode_jpeg(data, header, decode)
    except ImageError as error:
        if params.damaged != "keep" or error.code not in _DAMAGE:
            raise
        pixels, warnings = _decode_damaged(rebuild(data), decode, error), (error.code,)
    if space == "CMYK" and _is_inverted(data):
        cv2.bitwise_not(pixels, dst=pixels)
    full_size = None if pixels.shape[:2] == (header.height, header.width) else (header.width, header.height)
    return RawImage(pixels, header.orientation, warnings, space, full_size)


_SPACES: dict[int, ColourSpace] = {1: "GRAY", 3: "RGB", 4: "CMYK"}
"""Colour spaces by number of components; YCbCr becomes RGB and YCCK CMYK as they are decoded."""


def _is_inverted(data: bytes) -> bool:
    """Return whether a CMYK file stores the lack of ink, as Adobe's programs do, which mark their files.

    The marker is in ITU-T T.872, 6.5.3; that it means inverted values is custom: see libjpeg-turbo's `libjpeg.txt`.
    """
    before_pixels = takewhile(lambda segment: segment[0] != _SOS, jpeg_segments(data))
    return any(marker == _APP14 and data.startswith(b"Adobe", start) for marker, start, _ in before_pixels)


_SOS, _APP14 = 0xDA, 0xEE


def _least_size(header: Header, params: Decode) -> dict[str, int]:
    """Return the size to decode to, as simplejpeg's arguments; none for all pixels.

    libjpeg makes ⌈side · 1/2⌉, ⌈side · 1/4⌉ or ⌈side · 1/8⌉ pixels of a side.
    """
    width, height = header.width, header.height
    upright = (height, width) if header.orientation >= 5 else (width, height)
    factor = find_reduction(*upright, params.target if params.mode == "scaled" else None)
    return {} if factor == 1 else {"min_width": -(-width // factor), "min_height": -(-height // factor)}


_DAMAGE = (ImageCode.TRUNCATED_IMAGE, ImageCode.CORRUPT_IMAGE)


def _decode_damaged(data: bytes, decode: Callable[..., Pixels], cause: ImageError) -> Pixels:
    """Decode what can be decoded of a damaged file; libjpeg fills the rest with grey."""
    try:
        return decode(data, strict=False)
    except ValueError as error:
        raise cause from error


def _decode_jpeg(data: bytes, header: Header, decode: Callable[..., Pixels]) -> Pixels:
    if header.scans == "several":
        check_scans(data, header.data_start)
    try:
        return decode(data)
    except ValueError as error:
        return _decode_repaired(data, header, decode, error)


_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_CUTS = 3
_EOI = b"\xff\xd9"


def _decode_repaired(data: bytes, header: Header, decode: Callable[[bytes], Pixels], cause: ValueError) -> Pixels:
    """Decode a sound file that the strict decoder refused; raise for any other."""
    clean = rebuild(data)
    message = str(cause)
    for _ in range(_MAX_CUTS):
        try:
            return decode(clean)
        except ValueError as error:
            message = str(error)
        padding = _PADDING.search(message)
        shorter = remove_padding(clean, int(padding[1])) if padding else None
        if shorter is None:
            break
        clean = shorter
    if "subsampling" in message:
        if header.components == 4:
            message = "the CMYK JPEG file has channels of different sizes, in a ratio that is not supported"
            raise ImageError(ImageCode.UNSUPPORTED_COLORSPACE, message) from cause
        return _decode_by_opencv(clean)
    if data.find(_EOI, header.data_start) < 0:
        raise truncated(f"the JPEG file ends before its pixels do: {message}") from cause
    raise _damage(message) from cause


def _decode_by_opencv(data: bytes) -> Pixels:
    """Decode a file whose channels have sizes that the strict decoder does not know."""
    with captured_warnings() as warnings:
        pixels = imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if warnings:
        raise _damage(warnings[0])
    return pixels


def _damage(message: str) -> ImageError:
    if "remature end" in message:
        return truncated(f"the JPEG file ends before its pixels do: {message}")
    return corrupt(f"the JPEG file is damaged: {message}")


def write_jpeg(image: Image, params: Encode) -> bytes:
    """Return an image, `H×W×3 uint8`, as a JPEG file with its metadata, which don't change any other byte.

    Raises:
        ImageError: `parameter_not_applicable` if it has more than 65,500 pixels on a side.
    """
    check_side(image, "JPEG", 65_500)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, params.quality or 95]
    if params.progressive:
        parameters += [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    if params.subsampling == "444":
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = imencode(".jpg", image.pixels, parameters)
    return insert_into_jpeg(data, result_metadata(image))
