"""File types: what can be read, and the names of what cannot."""

from __future__ import annotations

import struct

import pytest

from penstock.common.headers.file_types import (
    ALL_SUFFIXES,
    HEAD_BYTES,
    OTHER_IMAGES,
    SIGNATURES,
    TYPES,
    list_names,
    read_types,
)
from penstock.common.image_header import describe_other, describe_type, image_type, suffixes_of
from penstock.common.settings import Limits, SettingsError, load


def ftyp(*brands: str) -> bytes:
    content = brands[0].encode() + bytes(4) + "".join(brands[1:]).encode()
    return struct.pack(">I", 8 + len(content)) + b"ftyp" + content + b"\0\0\0\x08free"


def tiff_with_tag(tag: int, order: str = "<") -> bytes:
    entries = [(256, 4, 1, 9), (tag, 1, 4, 0)]
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return (
        magic
        + struct.pack(order + "IH", 8, 2)
        + b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
        + bytes(40)
    )


@pytest.mark.parametrize(
    ("head", "kind", "name"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "jpeg", "JPEG"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "png", "PNG"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp", "WebP"),
        (b"II*\0\x08\0\0\0", "tiff", "TIFF"),
        (b"MM\0*\0\0\0\x08", "tiff", "TIFF"),
        (b"II+\0\x08\0\0\0", "tiff", "TIFF"),
        (ftyp("avif", "mif1", "miaf"), "avif", "AVIF"),
        (ftyp("mif1", "miaf", "avif"), "avif", "AVIF"),
        (ftyp("heic", "mif1", "heic"), "heic", "HEIC"),
        (ftyp("mif1", "heic"), "heic", "HEIC"),
        (ftyp("mif1", "miaf"), None, "HEIF of an unknown kind"),
        (ftyp("isom", "mp42"), None, "MP4 (video)"),
        (ftyp("qt  "), None, "QuickTime (video)"),
        (ftyp("crx ", "isom"), None, "CR3 (a camera's raw file)"),
        (b"II*\0\x10\0\0\0CR\2\0", None, "CR2 (a camera's raw file)"),
        (tiff_with_tag(50_706), None, "DNG (a camera's raw file)"),
        (tiff_with_tag(50_706, ">"), None, "DNG (a camera's raw file)"),
        (tiff_with_tag(50_707), "tiff", "TIFF"),
        (b"FUJIFILMCCD-RAW 0201", None, "RAF (a camera's raw file)"),
        (b"GIF89a..", None, "GIF"),
        (b"BM\x36\0\0\0\0\0\0\0", None, "BMP"),
        (b"\xff\x0a\xfa", None, "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", None, "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", None, "JPEG 2000"),
        (b"8BPS\0\1", None, "PSD (Photoshop)"),
        (b"%PDF-1.7", None, "PDF"),
        (b"PK\3\4\x14\0", None, "ZIP (or a document in a ZIP file)"),
        (b"RIFF\x10\0\0\0AVI LIST", None, "AVI (video)"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", None, "AppleDouble (macOS keeps it next to a file)"),
        (b'<?xml version="1.0"?>\n<svg width="4">', None, "SVG"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", None, "HTML"),
        (b"<note>", None, "XML"),
        (b'{"a": 1}', None, "JSON"),
        (b"P6\n4 4\n255\n", None, "Netpbm (PNM)"),
        (b"a,b\n1,2\n", None, "text"),
        (b"version https://git-lfs.github.com/spec/v1\n", None, "a pointer of Git LFS, without the file"),
        (bytes(100), None, "nothing but zeros"),
        (b"", None, "empty"),
        (b"\1\2\3\4\xfe\6\7\x08\x09", None, "of an unknown type that begins with 01 02 03 04 fe 06 07 08"),
    ],
)
def test_a_file_is_named_by_its_first_bytes(head: bytes, kind: str | None, name: str) -> None:
    assert image_type(head) == kind
    assert describe_type(head) == name


def test_any_bytes_have_a_name_and_cut_ones_too() -> None:
    for head in (ftyp("heic", "mif1"), tiff_with_tag(50_706), b"RIFF\x10\0\0\0WEBP", b"<svg"):
        for length in range(len(head)):
            assert describe_type(head[:length])
    for first in range(256):
        for second in (0, 0x2A, 0x4D, 0xD8, 0xFF):
            assert describe_type(bytes([first, second]) * (HEAD_BYTES // 2))


def test_a_setting_names_the_types_that_are_read() -> None:
    assert read_types("jpg, PNG,tif") == {"jpeg", "png", "tiff"}
    assert read_types("all") >= {"jpeg", "png", "webp", "tiff", "avif"}
    assert list_names(read_types("avif,jpeg,heic")) == "JPEG, AVIF and HEIC"
    assert list_names(read_types("png")) == "PNG"
    assert load(Limits, formats="png").types == {"png"}
    with pytest.raises(
        SettingsError, match=r"PENSTOCK_FORMATS=gif,png: .*gif is no type of image; accepted are all, jpeg"
    ):
        load(Limits, formats="gif,png")
    with pytest.raises(SettingsError, match="nothing is no type"):
        load(Limits, formats=" , ")


def test_what_is_not_read_is_described() -> None:
    assert {*(signature.name for signature in SIGNATURES), "Netpbm (PNM)", "DNG (a camera's raw file)"} >= OTHER_IMAGES
    assert describe_other(b"\xff\xd8\xff\xe0", {"jpeg"}) is None
    assert describe_other(b"\xff\xd8\xff\xe0", {"png"}) == "JPEG"
    others = (b"", b"GIF89a", b"P6\n4 4\n255\n", b"P2 is a place", ftyp("crx "), b"<svg>")
    found = [describe_other(head, TYPES) for head in others]
    assert found == ["empty", "GIF", "Netpbm (PNM)", "text", "CR3 (a camera's raw file)", "SVG"]
    assert (describe_other(ftyp("heic"), {"png"}) or "").startswith("HEIC")
    assert suffixes_of(["png", "jpeg"]) == (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
    assert len(ALL_SUFFIXES) >= len(TYPES)
