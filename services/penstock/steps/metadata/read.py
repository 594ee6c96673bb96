"""Read: what a file says about its picture, as far as a job keeps it. No pixel is needed, and nothing here fails."""

import struct
from collections.abc import Callable

from penstock.common.image_header import Header, ImageType
from penstock.common.model.errors import ImageError
from penstock.common.model.operations import Decode
from penstock.steps.image import Metadata
from penstock.steps.metadata.exif import clean_exif
from penstock.steps.metadata.icc import PROFILE_INVALID, clean_profile
from penstock.steps.metadata.iptc import clean_iptc
from penstock.steps.metadata.isobmff import find_in_isobmff
from penstock.steps.metadata.jpeg import find_in_jpeg
from penstock.steps.metadata.png import find_in_png
from penstock.steps.metadata.tiff import find_in_tiff
from penstock.steps.metadata.webp import find_in_webp
from penstock.steps.metadata.xmp import clean_xmp

METADATA_DROPPED = "metadata_dropped"
"""Warning: EXIF, XMP or IPTC, or some of it, was damaged or too large, and results don't have it."""

_DAMAGED = (ImageError, ValueError, struct.error)

_FINDERS: dict[ImageType, Callable[[bytes], Metadata]] = {
    "jpeg": find_in_jpeg,
    "png": find_in_png,
    "webp": find_in_webp,
    "tiff": find_in_tiff,
    "avif": find_in_isobmff,
    "heic": find_in_isobmff,
}


def read_metadata(data: bytes, header: Header, params: Decode) -> tuple[Metadata, tuple[str, ...]]:
    """Return a file's metadata without the size of its pixels, and warnings about what was dropped, as codes."""
    if params.metadata == "none" and not _is_profile_used(header, params):
        return Metadata(header.type), ()
    try:
        found = _FINDERS[header.type](data)
    except _DAMAGED:
        return Metadata(header.type), (METADATA_DROPPED,)
    return clean_metadata(found, header, params)


def find_metadata(data: bytes, kind: ImageType) -> Metadata:
    """Return what a file holds, as it is; nothing if that is damaged."""
    try:
        return _FINDERS[kind](data)
    except _DAMAGED:
        return Metadata(kind)


def clean_metadata(found: Metadata, header: Header, params: Decode) -> tuple[Metadata, tuple[str, ...]]:
    """Return metadata as results keep them, and warnings about what was dropped, as codes.

    Args:
        found: what a file holds, as it is.
        header: the file's header.
        params: what the job keeps.
    """
    exif, xmp, iptc = (b"", False), (b"", False), (b"", False)
    geo = params.metadata == "geo"
    if params.metadata != "none":
        srgb = params.profile == "srgb" or _is_cmyk(header)
        exif = clean_exif(found.exif, geo=geo, srgb=srgb) if found.exif else exif
        xmp = clean_xmp(found.xmp, geo=geo, upright=header.orientation == 1) if found.xmp else xmp
        iptc = clean_iptc(found.iptc, geo=geo) if found.iptc else iptc
    profile = clean_profile(found.icc if _is_profile_used(header, params) else b"")
    warnings = []
    if exif[1] or xmp[1] or iptc[1]:
        warnings.append(METADATA_DROPPED)
    if profile[1]:
        warnings.append(PROFILE_INVALID)
    geotiff = found.geotiff if params.metadata != "none" and header.orientation == 1 else b""
    kept = Metadata(header.type, exif=exif[0], xmp=xmp[0], iptc=iptc[0], icc=profile[0], geotiff=geotiff)
    return kept, (*warnings,)


def _is_profile_used(header: Header, params: Decode) -> bool:
    """Return whether pixels may need the profile: CMYK is always converted by it."""
    return params.profile != "drop" or _is_cmyk(header) or (header.type == "tiff" and header.components >= 4)


def _is_cmyk(header: Header) -> bool:
    return header.type == "jpeg" and header.components == 4
