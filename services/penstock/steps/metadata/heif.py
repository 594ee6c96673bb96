"""HEIC items with metadata, found in a file by libheif, which decodes no pixel for it."""

from typing import Any

from penstock.common.image_header import unsupported
from penstock.steps.image import Metadata

_EXIF_PREFIX = b"Exif\0\0"


def find_in_heic(data: bytes) -> Metadata:
    """Return what a HEIC file's items hold, as it is. Raises ValueError if they cannot be read."""
    try:
        info = open_heic(data).info
    except (EOFError, SyntaxError, RuntimeError, OSError, LookupError) as error:
        raise ValueError(f"the items of the HEIC file cannot be read: {error}") from error
    exif = (info.get("exif") or b"").removeprefix(_EXIF_PREFIX)
    return Metadata(exif=exif, xmp=info.get("xmp") or b"", icc=info.get("icc_profile") or b"")


def open_heic(data: bytes) -> Any:
    """Return a file as pi-heif opens it; its pixels are decoded when they are asked for.

    Raises:
        ImageError: `unsupported_type` without the extra `heif`.
    """
    try:
        import pi_heif
    except ImportError as error:
        raise unsupported("the file is HEIC, which needs pip install 'penstock[heif]'") from error
    pi_heif.options.DECODE_THREADS = 1
    return pi_heif.open_heif(data, convert_hdr_to_8bit=False, bgr_mode=True)
