"""Encode: WebP, AVIF and TIFF, options of JPEG, and the format of the source."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode, Encode
from penstock.common.model.plan import Planned
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode
from penstock.steps.image import Image, Metadata
from penstock.worker.executors.in_process import InProcessExecutor

LIMITS = Limits()
FORMATS = ["jpg", "png", "webp", "avif", "tiff"]


def params(form: str, **fields: Any) -> Encode:
    return Encode.model_validate({"format": form, **fields})


def read(data: bytes) -> Image:
    return decode(data, LIMITS, Decode(alpha="keep"))


def exif(number: int = 1) -> bytes:
    found = Pillow.Exif()
    found[0x0112] = number
    found[0x010F] = "Maker"
    found.get_ifd(0x8769)[0x9003] = "2026:05:01 10:11:12"
    found.get_ifd(0x8825)[1] = "N"
    return found.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("form", FORMATS)
def test_a_result_shows_the_image_and_is_of_its_type(image: np.ndarray, form: str) -> None:
    data = encode(Image(image), params(form))
    shown = read(data).pixels
    assert read_header(data).type == params(form).media_type.removeprefix("image/")
    assert shown.shape == image.shape
    if form in ("png", "tiff"):
        assert np.array_equal(shown, image)
    elif min(image.shape[:2]) > 40:
        assert cv2.PSNR(shown, image) > 20


@pytest.mark.parametrize("form", FORMATS)
def test_equal_images_give_equal_bytes_whatever_the_threads(drawing: np.ndarray, form: str) -> None:
    expected = encode(Image(drawing), params(form))
    cv2.setNumThreads(4)
    try:
        assert encode(Image(np.asfortranarray(drawing)), params(form)) == expected
    finally:
        cv2.setNumThreads(1)


@pytest.mark.parametrize("form", ["png", "webp", "avif", "tiff"])
def test_transparency_is_kept(drawing: np.ndarray, form: str) -> None:
    alpha = np.zeros(drawing.shape[:2], np.uint8)
    alpha[20:60, 20:60] = 255
    transparent = np.dstack([drawing, alpha])
    shown = read(encode(Image(transparent), params(form, quality=90))).pixels
    assert shown.shape == transparent.shape
    assert np.abs(shown[:, :, 3].astype(int) - alpha).max() <= (12 if form == "avif" else 0)


def test_16_bits_are_kept_in_png_and_tiff(seeded: np.random.Generator) -> None:
    for channels in (3, 4):
        deep = seeded.integers(0, 65_536, (50, 40, channels)).astype(np.uint16)
        for form in ("png", "tiff"):
            assert np.array_equal(read(encode(Image(deep), params(form))).pixels, deep)


def test_a_tiff_is_read_by_other_programs_whatever_its_byte_order(seeded: np.random.Generator) -> None:
    pixels = seeded.integers(0, 65_536, (2_000, 90, 3)).astype(np.uint16)
    little = Pillow.Exif()
    little[0x010F] = "Maker"
    for order in ("<", ">"):
        little.endian = order
        blob = little.tobytes().removeprefix(b"Exif\0\0")
        for each in (pixels, (pixels >> 8).astype(np.uint8)):
            data = encode(Image(each, Metadata("tiff", 90, 2_000, exif=blob)), params("tiff"))
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                page = file.pages[0]
                assert file.byteorder == order
                assert page.tags["Make"].value == "Maker"  # type: ignore[union-attr]
                assert len(page.dataoffsets) > 1  # type: ignore[union-attr]
            own = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(own, each)


@pytest.mark.parametrize("form", ["webp", "avif", "tiff"])
def test_metadata_and_profile_are_written_and_change_no_pixel(drawing: np.ndarray, form: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    xmp += b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="street"/>'
    xmp += b"</rdf:RDF></x:xmpmeta>"
    bare = Image(drawing, Metadata("jpeg", 96, 72))
    full = replace(bare, metadata=replace(bare.metadata, exif=exif(), xmp=xmp, icc=profile))
    data = encode(full, params(form))
    assert np.array_equal(read(data).pixels, read(encode(bare, params(form))).pixels)
    with Pillow.open(io.BytesIO(data)) as shown:
        found = shown.getexif()
        assert shown.info["icc_profile"] == profile
        assert found[0x010F] == "Maker"
        assert found.get_ifd(0x8769)[0x9003] == "2026:05:01 10:11:12"
        assert found.get_ifd(0x8825)[1] == "N"
        packet = found[700] if form == "tiff" else shown.info["xmp"]
    assert b"street" in packet


def test_a_progressive_jpeg_has_the_same_pixels_in_several_scans(drawing: np.ndarray) -> None:
    plain, progressive = encode(Image(drawing), Encode()), encode(Image(drawing), Encode(progressive=True))
    assert (read_header(plain).scans, read_header(progressive).scans) == ("one", "several")
    assert np.array_equal(read(plain).pixels, read(progressive).pixels)


def test_full_colour_resolution_is_closer_to_the_image(drawing: np.ndarray) -> None:
    half, full = (encode(Image(drawing), Encode(subsampling=each)) for each in ("420", "444"))
    assert half == encode(Image(drawing), Encode())
    assert cv2.PSNR(read(full).pixels, drawing) > cv2.PSNR(read(half).pixels, drawing) + 3


@pytest.mark.parametrize("form", ["webp", "avif"])
def test_quality_and_effort_change_size(drawing: np.ndarray, form: str) -> None:
    sizes = [len(encode(Image(drawing), params(form, quality=quality))) for quality in (20, 50, 90)]
    assert sizes == sorted(sizes)
    assert len({encode(Image(drawing), params(form, effort=effort)) for effort in (1, 2, 3)}) == 3


def test_default_qualities_depend_on_the_format() -> None:
    assert {form: params(form).quality for form in FORMATS} == {
        "jpg": 95, "png": 95, "webp": 80, "avif": 50, "tiff": 95,
    }  # fmt: skip
    assert params("keep").quality is None
    assert params("keep").for_source("webp").quality == 80
    assert params("keep", quality=30).for_source("jpeg").quality == 30


def test_jpeg_is_another_name_of_jpg_and_documents_of_before_stay_the_same() -> None:
    assert params("jpeg") == Encode()
    assert Encode().document() == {"format": "jpg", "quality": 95, "effort": 2}
    assert params("png", effort=0).document() == {"format": "png", "quality": 95, "effort": 0}
    assert Encode.model_validate({"subsampling": 444}).document()["subsampling"] == "444"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_keep_writes_the_format_of_the_source(drawing: np.ndarray, form: str) -> None:
    file = io.BytesIO()
    Pillow.fromarray(drawing).save(file, form)
    executor = InProcessExecutor(LIMITS)
    images = executor.perform(Planned("decode", Decode()), [file.getvalue()])
    [made] = executor.encode(Planned("encode", params("keep")), images)
    assert read_header(made.data).type == form.lower()
    assert made.media_type == f"image/{form.lower()}"
    assert made.extension == {"JPEG": "jpg"}.get(form, form.lower())


def test_keep_writes_a_jpg_for_what_cannot_be_written_in_8_bits_without_transparency(drawing: np.ndarray) -> None:
    deep = np.dstack([drawing, np.zeros(drawing.shape[:2], np.uint8)]).astype(np.uint16) << 8
    [made] = InProcessExecutor(LIMITS).encode(Planned("encode", params("keep")), [Image(deep, Metadata("heic"))])
    assert (made.extension, made.warnings) == ("jpg", ("depth_reduced",))
    assert np.all(read(made.data).pixels == 255)


def test_an_image_too_large_for_webp_is_refused() -> None:
    with pytest.raises(ImageError, match="16383 per side") as refused:
        encode(Image(np.zeros((1, 16_384, 3), np.uint8)), params("webp"))
    assert refused.value.code is ImageCode.PARAMETER_NOT_APPLICABLE
