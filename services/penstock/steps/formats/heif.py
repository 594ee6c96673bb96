"""HEIC: read by libheif and libde265 where the extra `heif` is installed."""

from typing import Any

import cv2
import numpy as np

from penstock.common.headers.file_types import HEIC_NEEDS
from penstock.common.headers.isobmff import boxes
from penstock.common.image_header import Header, corrupt, truncated, unsupported
from penstock.common.model.operations import Decode
from penstock.steps.formats.avif import widen
from penstock.steps.formats.raw import RawImage
from penstock.steps.image import Pixels


def read_heic(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of a HEIC file's primary image, upright; those of 10 and 12 bits as 16.

    Raises:
        ImageError: `unsupported_type` without the extra `heif`, or as `Reader` says.
    """
    try:
        image = _open(data)
        pixels = np.asarray(image)
    except EOFError as error:
        raise truncated(f"the HEIC file ends too early: {error}") from error
    except (ValueError, SyntaxError, RuntimeError, OSError, LookupError) as error:
        raise corrupt(f"the HEIC file cannot be decoded: {error}") from error
    if pixels.shape[0] * pixels.shape[1] > header.width * header.height:
        raise corrupt(f"the HEIC header has {header.width}x{header.height} pixels, and its image more")
    warnings = ("frames_dropped",) if header.images == "several" or len(image) > 1 else ()
    space = "GRAY" if pixels.ndim == 2 else "RGB"
    return RawImage(_coloured(pixels, image.info["bit_depth"]), 1, warnings, space)  # type: ignore[arg-type]


def _open(data: bytes) -> Any:
    """Return a file as pi-heif opens it; its pixels are decoded when they are asked for.

    Raises:
        ImageError: `unsupported_type` without the extra `heif`.
    """
    try:
        import pi_heif
    except ImportError as error:
        raise unsupported(f"the file is HEIC, which needs {HEIC_NEEDS} where it is read") from error
    _check_texts(data)
    options = pi_heif.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return pi_heif.open_heif(data, convert_hdr_to_8bit=False, bgr_mode=True)


def _check_texts(data: bytes) -> None:
    """Refuse items whose types and names are no text: pi-heif 1.4 reads memory that it has not, and crashes."""
    for kind, content in boxes(data, top=True):
        if kind != b"meta":
            continue
        for _, items in (box for box in boxes(content[4:]) if box[0] == b"iinf"):
            entries = boxes(items[8 if items[:1] > b"\0" else 6 :])
            if not all(_is_text(entry) for name, entry in entries if name == b"infe"):
                raise corrupt("the HEIC file has an item whose type or name is no text")


def _is_text(entry: bytes) -> bool:
    """Return whether the type of an item and the strings that follow it are UTF-8."""
    try:
        entry[10 if entry[:1] == b"\3" else 8 :].decode()
    except UnicodeDecodeError:
        return False
    return True


def _coloured(pixels: Pixels, bits: int) -> Pixels:
    """Return pixels in BGR or BGRA order, with the highest value of `bits` as that of their type."""
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    pixels = np.array(pixels)  # libheif's own memory is read-only
    return widen(pixels, bits, is_high=True) if pixels.dtype == np.uint16 and 8 < bits < 16 else pixels
