"""File types by their first bytes: the types that can be read, and the names of many others for messages."""

import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

from penstock.common.headers.base import ImageType
from penstock.common.headers.isobmff import isobmff_type
from penstock.common.headers.jpeg import SIGNATURE as JPEG_SIGNATURE
from penstock.common.headers.png import SIGNATURE as PNG_SIGNATURE
from penstock.common.headers.tiff import is_tiff
from penstock.common.headers.webp import is_webp

HEAD_BYTES = 512
"""Bytes from which `image_type` and `describe_type` tell a type."""

TYPES: tuple[ImageType, ...] = get_args(ImageType)

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

ALL_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


HEIC_NEEDS = "pip install 'penstock[heif]'"
"""What installs a decoder for HEIC: patents on it are claimed in some countries, and few need it."""


@cache
def has_heic() -> bool:
    """Return whether this process can read HEIC files, if the settings let it."""
    return find_spec("pi_heif") is not None


@cache
def read_types(text: str) -> frozenset[ImageType]:
    """Return the types that a setting names, separated by commas; `all` is all that are installed.

    Raises:
        ValueError: a name is unknown.
    """
    if text.strip() == "all":
        return frozenset(kind for kind in TYPES if kind != "heic" or has_heic())
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    known: dict[str, ImageType] = {kind: kind for kind in TYPES} | {"jpg": "jpeg", "tif": "tiff", "heif": "heic"}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"{', '.join(unknown) or 'nothing'} is no type of image; accepted are all, {', '.join(TYPES)}")
    return frozenset(known[name] for name in names)


def list_names(types: Collection[ImageType]) -> str:
    """Return what people call some types, as a message lists them: `JPEG, PNG and TIFF`."""
    names = [NAMES[kind] for kind in TYPES if kind in types]
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


class Signature(NamedTuple):
    """A type's name, and what files of it have at some offsets."""

    name: str
    parts: tuple[tuple[int, bytes], ...]

    def matches(self, head: bytes) -> bool:
        return all(head.startswith(part, offset) for offset, part in self.parts)


_RAW = "a camera's raw file"
_FIRST_BYTES = (
    (b"II*\0\x10\0\0\0CR", f"CR2 ({_RAW})"),
    (b"IIRO", f"ORF ({_RAW})"),
    (b"IIRS", f"ORF ({_RAW})"),
    (b"MMOR", f"ORF ({_RAW})"),
    (b"IIU\0", f"RW2 ({_RAW})"),
    (b"FUJIFILMCCD-RAW", f"RAF ({_RAW})"),
    (b"FOVb", f"X3F ({_RAW})"),
    (JPEG_SIGNATURE, "JPEG"),
    (PNG_SIGNATURE, "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc\x01", "JPEG XR"),
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
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, without the file"),
)
SIGNATURES: tuple[Signature, ...] = (
    *(Signature(name, ((0, start),)) for start, name in _FIRST_BYTES),
    Signature("WebP", ((0, b"RIFF"), (8, b"WEBP"))),
    Signature("AVI (video)", ((0, b"RIFF"), (8, b"AVI "))),
    Signature("WAV (sound)", ((0, b"RIFF"), (8, b"WAVE"))),
    Signature("DICOM", ((128, b"DICM"),)),
    Signature("BMP", ((0, b"BM"), (6, b"\0\0\0\0"))),
    *(
        Signature(name, ((4, b"ftyp"), (8, brand)))
        for brand, name in (
            (b"avif", "AVIF"),
            (b"avis", "AVIF"),
            (b"hei", "HEIC"),
            (b"hev", "HEIC"),
            (b"mif1", "HEIF of an unknown kind"),
            (b"msf1", "HEIF of an unknown kind"),
            (b"crx ", f"CR3 ({_RAW})"),
            (b"qt  ", "QuickTime (video)"),
            (b"M4A ", "M4A (sound)"),
            (b"", "MP4 (video)"),
        )
    ),
)
"""The first one that matches names a file's type; the web page uses them, too."""

_PNM = "Netpbm (PNM)"
OTHER_IMAGES = frozenset(
    {
        *(
            "GIF",
            "BMP",
            "JPEG XL",
            "JPEG 2000",
            "JPEG XR",
            "PSD (Photoshop)",
            "ICO (an icon)",
            "OpenEXR",
            "Radiance HDR",
        ),
        *("QOI", "DDS", "FITS", "DICOM", "HEIF of an unknown kind", _PNM, f"DNG ({_RAW})"),
        *(signature.name for signature in SIGNATURES if signature.name.endswith(f"({_RAW})")),
    }
)
"""The names of types of images that cannot be read, whatever the settings."""


def image_type(head: bytes) -> ImageType | None:
    """Return a file's type from its first `HEAD_BYTES` bytes; None if it can't be read, whatever the settings."""
    if head.startswith(JPEG_SIGNATURE):
        return "jpeg"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    if is_webp(head):
        return "webp"
    if is_tiff(head):
        return None if _is_raw(head) else "tiff"
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
    if is_tiff(head) and _has_dng_version(head):
        return f"DNG ({_RAW})"
    named = next((signature.name for signature in SIGNATURES if signature.matches(head)), None)
    if named or not head.strip(b"\0"):
        return named or "nothing but zeros"
    return _text_name(head) or f"of an unknown type that begins with {head[:8].hex(' ')}"


def suffixes_of(types: Collection[ImageType]) -> tuple[str, ...]:
    """Return the suffixes of the files of some types, in lower case."""
    return tuple(suffix for kind in types for suffix in SUFFIXES[kind])


def describe_other(head: bytes, types: Collection[ImageType]) -> str | None:
    """Return what a file is that is of none of these types, from its first `HEAD_BYTES` bytes; None if it is."""
    kind = image_type(head)
    if kind in types:
        return None
    needs = f", which needs {HEIC_NEEDS} where it is read" if kind == "heic" and not has_heic() else ""
    return describe_type(head) + needs


def _is_raw(head: bytes) -> bool:
    return head[8:10] == b"CR" or _has_dng_version(head)


_DNG_VERSION = 50_706


def _has_dng_version(head: bytes) -> bool:
    """Return whether the first directory of a TIFF file has the tag of DNG, as far as the bytes reach."""
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    start = int.from_bytes(head[4:8], order)
    tags = range(start + 2, min(start + 2 + 12 * 512, len(head) - 3), 12)
    return any(
        int.from_bytes(head[at : at + 2], order) == _DNG_VERSION and head[at + 2 : at + 4] in (b"\1\0", b"\0\1")
        for at in tags
    )


_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype html|html|head|body)[\s>]", re.IGNORECASE)


def _text_name(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*[0-9]+\s|P7\nWIDTH ", head):
        return _PNM
    if text.startswith(b"<"):
        return "SVG" if _SVG.search(text) else "HTML" if _HTML.match(text) else "XML"
    printable = bytes(range(32, 127)) + b"\t\r\n\f"
    if text and not text.translate(None, printable):
        return "JSON" if text[:1] in b"{[" else "text"
    return None
