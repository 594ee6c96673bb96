"""File types by their first bytes: the types that can be read, and the names of many others for messages."""

import re

from penstock.common.headers.base import ImageType
from penstock.common.headers.isobmff import brands, isobmff_type
from penstock.common.headers.jpeg import SIGNATURE as JPEG_SIGNATURE
from penstock.common.headers.png import SIGNATURE as PNG_SIGNATURE
from penstock.common.headers.tiff import is_tiff
from penstock.common.headers.webp import is_webp

HEAD_BYTES = 512
"""Bytes from which `image_type` and `describe_type` tell a type."""

NAMES: dict[ImageType, str] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "heic": "HEIC",
}
"""What people call each type that can be read."""

SUFFIXES: dict[ImageType, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "avif": (".avif",),
    "heic": (".heic", ".heif", ".hif"),
}
"""The suffixes of each type's files, in lower case."""


def image_type(head: bytes) -> ImageType | None:
    """Return a file's type from its first `HEAD_BYTES` bytes; None if it can't be read, whatever the settings."""
    if head.startswith(JPEG_SIGNATURE):
        return "jpeg"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    if is_webp(head):
        return "webp"
    if is_tiff(head):
        return None if _raw_name(head) else "tiff"
    return isobmff_type(head)


def describe_type(head: bytes) -> str:
    """Return the name of a file's type from its first `HEAD_BYTES` bytes, such as `HEIC`; it completes "… is …".

    A file of unknown type is described by the bytes it begins with.
    """
    if not head:
        return "empty"
    kind = image_type(head)
    if kind is not None:
        return NAMES[kind]
    for name in (_raw_name(head), _isobmff_name(head), _signature_name(head), _riff_name(head), _text_name(head)):
        if name is not None:
            return name
    if not head.strip(b"\0"):
        return "nothing but zeros"
    return f"of an unknown type that begins with {head[:8].hex(' ')}"


_SIGNATURES = (
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"FUJIFILMCCD-RAW", "RAF (a camera's raw file)"),
    (b"FOVb", "X3F (a camera's raw file)"),
    (b"8BPS", "PSD (Photoshop)"),
    (b"\0\0\1\0", "ICO (an icon)"),
    (b"v/1\1", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"SIMPLE  =", "FITS"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"PK\3\4", "ZIP (or a document in a ZIP file)"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!", "RAR"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM (video)"),
    (b"\0\5\x16\7", "AppleDouble (macOS keeps it next to a file)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
)


def _signature_name(head: bytes) -> str | None:
    if re.match(rb"P[1-7]\s", head):
        return "Netpbm (PNM)"
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)


_RAW_SIGNATURES = ((b"IIRO", "ORF"), (b"IIRS", "ORF"), (b"MMOR", "ORF"), (b"IIU\0", "RW2"))
_DNG_VERSION = 50_706


def _raw_name(head: bytes) -> str | None:
    """Return the name of a camera's raw file, as far as its first bytes tell."""
    kind = next((name for signature, name in _RAW_SIGNATURES if head.startswith(signature)), None)
    if kind is None and is_tiff(head):
        kind = "CR2" if head[8:10] == b"CR" else "DNG" if _has_dng_version(head) else None
    return None if kind is None else f"{kind} (a camera's raw file)"


def _has_dng_version(head: bytes) -> bool:
    order = "little" if head[:2] == b"II" else "big"
    start = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
    tags = range(start + 2, min(start + 2 + 12 * 512, len(head) - 3), 12)
    return any(
        int.from_bytes(head[at : at + 2], order) == _DNG_VERSION and head[at + 2 : at + 4] in (b"\1\0", b"\0\1")  # type: ignore[arg-type]
        for at in tags
    )


_BRANDS = {
    b"crx ": "CR3 (a camera's raw file)",
    b"qt  ": "QuickTime (video)",
    b"M4A ": "M4A (sound)",
    b"mif1": "HEIF of an unknown kind",
    b"msf1": "HEIF of an unknown kind",
}


def _isobmff_name(head: bytes) -> str | None:
    found = brands(head)
    return next((_BRANDS[brand] for brand in found if brand in _BRANDS), "MP4 (video)") if found else None


def _riff_name(head: bytes) -> str | None:
    if head[:4] != b"RIFF":
        return None
    return {b"AVI ": "AVI (video)", b"WAVE": "WAV (sound)"}.get(head[8:12], "RIFF of an unknown kind")


_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype html|html|head|body)[\s>]", re.IGNORECASE)
_GIT_LFS = b"version https://git-lfs.github.com/spec/"


def _text_name(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_GIT_LFS):
        return "a pointer of Git LFS, without the file"
    if text.startswith(b"<"):
        return "SVG" if _SVG.search(text) else "HTML" if _HTML.match(text) else "XML"
    printable = bytes(range(32, 127)) + b"\t\r\n\f"
    if text and not text.translate(None, printable):
        return "JSON" if text[:1] in b"{[" else "text"
    return None
