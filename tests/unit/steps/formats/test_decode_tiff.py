from __future__ import annotations

import io
import struct
import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from icc_profiles import press_profile
from PIL import Image as Pillow

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.colour.normalise import normalise
from penstock.steps.decode import decode

LIMITS = Limits()
KEEP = Decode(alpha="keep")


def write(values: np.ndarray, **options: Any) -> bytes:
    """Write a TIFF by tifffile: H×W or H×W×samples, RGB if there are three or more."""
    options.setdefault("photometric", "rgb" if values.ndim == 3 and values.shape[2] > 2 else "minisblack")
    if options.get("planarconfig") == "separate":
        values = np.moveaxis(values, -1, 0)
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def write_by_libtiff(values: np.ndarray, compression: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(values).save(file, "TIFF", compression=compression, **options)
    return file.getvalue()


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as refused:
        decode(data, limits)
    return refused.value


def noise(seeded: np.random.Generator, channels: int, dtype: type = np.uint8) -> np.ndarray:
    return seeded.integers(0, np.iinfo(dtype).max + 1, (37, 53, channels)).astype(dtype)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "places", [{"rowsperstrip": 1}, {"rowsperstrip": 8}, {"rowsperstrip": 37}, {"tile": (16, 16)}, {"tile": (48, 32)}]
)
def test_strips_and_tiles_of_any_byte_order_and_depth_hold_their_pixels(
    seeded: np.random.Generator, places: dict[str, Any], dtype: type, order: str, planar: str
) -> None:
    rgb = noise(seeded, 3, dtype)
    options = {**places, "byteorder": order, "planarconfig": planar}
    deflate = {"compression": "zlib"}
    for more in ({}, {"bigtiff": True}, deflate, {**deflate, "predictor": True}):
        image = decode(write(rgb, **options, **more), LIMITS)
        assert image.pixels.dtype == dtype
        assert np.array_equal(image.pixels, rgb[:, :, ::-1]), more
        assert image.warnings == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_greys_become_three_equal_channels_and_white_may_be_zero(seeded: np.random.Generator, dtype: type) -> None:
    grey = noise(seeded, 1, dtype)[:, :, 0]
    three = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(decode(write(grey), LIMITS).pixels, three)
    inverted = decode(write(grey, photometric="miniswhite"), LIMITS).pixels
    assert np.array_equal(inverted, np.iinfo(dtype).max - three)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "I;16"])
def test_every_compression_and_kind_of_pixel_decodes_as_in_pillow(
    drawing: np.ndarray, compression: str, mode: str
) -> None:
    drawn = Pillow.fromarray(drawing)
    picture = Pillow.fromarray(drawing[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else drawn.convert(mode)
    file = io.BytesIO()
    picture.save(file, "TIFF", compression=compression)
    expected = np.asarray(picture if mode in ("I;16", "RGBA") else picture.convert("RGB"))
    pixels = decode(file.getvalue(), LIMITS, KEEP).pixels
    if mode == "I;16":
        assert np.array_equal(pixels, np.repeat(expected[:, :, None], 3, axis=2))
    else:
        assert np.array_equal(pixels[:, :, 2::-1], expected[:, :, :3])
        assert np.array_equal(pixels[:, :, 3:], expected[:, :, 3:])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_spread_over_eight(bits: int) -> None:
    values = np.arange(2**bits, dtype=np.uint8).repeat(3)[None, :].repeat(5, 0)
    data = bytearray(write(np.packbits(np.unpackbits(values[:, :, None], axis=2)[:, :, 8 - bits :].reshape(5, -1), 1)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        struct.pack_into("<I", data, tags[256].valueoffset, values.shape[1])
        struct.pack_into("<H", data, tags[258].valueoffset, bits)
    pixels = decode(bytes(data), LIMITS).pixels
    assert np.array_equal(pixels[:, :, 0], values * (255 // (2**bits - 1)))


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("tile", [None, (32, 48)])
def test_jpeg_within_a_tiff_shows_the_picture(
    drawing: np.ndarray, photometric: str, tile: tuple[int, int] | None
) -> None:
    rgb = np.ascontiguousarray(drawing[:, :, ::-1])
    height, width = rgb.shape[:2]
    tall, wide = tile or (24, width)
    pieces = []
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            piece = np.zeros((tall, wide, 3), np.uint8)
            part = rgb[top : top + tall, left : left + wide]
            piece[: part.shape[0], : part.shape[1]] = part
            picture = Pillow.fromarray(piece)
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=95, subsampling=0, keep_rgb=photometric == "rgb")
            pieces.append(file.getvalue())
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [8, 8, 8]), (259, 3, [7]), (277, 3, [3])]
    entries += [(262, 3, [2 if photometric == "rgb" else 6])]
    entries += [(322, 4, [wide]), (323, 4, [tall])] if tile else [(278, 4, [tall])]
    data = assemble(entries, pieces, tiled=tile is not None)
    pixels = decode(data, LIMITS).pixels
    assert pixels.shape == drawing.shape
    assert cv2.PSNR(pixels, drawing) > 30


def assemble(entries: list[tuple[int, int, list[int]]], pieces: list[bytes], *, tiled: bool) -> bytes:
    """Build a TIFF file of strips or tiles with any content."""
    offsets = [8 + sum(map(len, pieces[:number])) for number in range(len(pieces))]
    entries = [*entries, (324 if tiled else 273, 4, offsets), (325 if tiled else 279, 4, [*map(len, pieces)])]
    start = 8 + sum(map(len, pieces))
    position = start + 2 + 12 * len(entries) + 4
    directory, behind = b"", b""
    for tag, kind, values in sorted(entries):
        content = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(content) > 4:
            field = struct.pack("<I", position + len(behind))
            behind += content
        else:
            field = content.ljust(4, b"\0")
        directory += struct.pack("<HHI", tag, kind, len(values)) + field
    header = struct.pack("<2sHI", b"II", 42, start)
    return b"".join((header, *pieces, struct.pack("<H", len(entries)), directory, bytes(4), behind))


def test_transparency_is_kept_and_multiplied_colours_are_divided(seeded: np.random.Generator) -> None:
    for dtype in (np.uint8, np.uint16):
        rgba = noise(seeded, 4, dtype)
        straight = decode(write(rgba, extrasamples=["unassalpha"]), LIMITS, KEEP).pixels
        assert np.array_equal(straight, rgba[:, :, [2, 1, 0, 3]])
        full = np.iinfo(dtype).max
        colours = np.round(rgba[:, :, :3] * (rgba[:, :, 3:] / full)).astype(dtype)
        multiplied = np.concatenate([colours, rgba[:, :, 3:]], axis=2)
        divided = decode(write(multiplied, extrasamples=["assocalpha"]), LIMITS, KEEP).pixels
        opaque = rgba[:, :, 3] > full // 2
        assert np.abs(divided[opaque][:, 2::-1].astype(int) - rgba[opaque][:, :3]).max() <= 1
        assert not divided[rgba[:, :, 3] == 0][:, :3].any()


def test_transparent_pixels_are_flattened_onto_the_background(seeded: np.random.Generator) -> None:
    rgba = noise(seeded, 4)
    rgba[:, :, 3] = 0
    assert np.all(decode(write(rgba, extrasamples=["unassalpha"]), LIMITS).pixels == 255)


def test_channels_beyond_colour_and_transparency_are_dropped_with_a_warning(seeded: np.random.Generator) -> None:
    five = noise(seeded, 5)
    for planar in ("contig", "separate"):
        data = write(five, planarconfig=planar, extrasamples=["unspecified", "unassalpha"])
        image = decode(data, LIMITS, KEEP)
        assert np.array_equal(image.pixels, five[:, :, [2, 1, 0, 4]])
        assert image.warnings == ("channels_dropped",)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_becomes_srgb_by_its_profile_or_its_inks(seeded: np.random.Generator, dtype: type, planar: str) -> None:
    inks = noise(seeded, 4)
    stored = inks.astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    options = {"photometric": "separated", "planarconfig": planar, "rowsperstrip": 8, "compression": "zlib"}
    for profile in (None, press_profile()):
        image = decode(write(stored, iccprofile=profile, **options), LIMITS, Decode(profile="drop", metadata="none"))
        expected = normalise(inks, profile or b"", "CMYK", Decode())
        assert np.array_equal(image.pixels, expected.pixels)
        assert image.metadata.icc == b""
        assert image.warnings == (() if dtype == np.uint8 else ("depth_reduced",))


def test_only_the_first_page_is_read_and_smaller_copies_are_no_pages(seeded: np.random.Generator) -> None:
    first, second = noise(seeded, 3), noise(seeded, 3)
    for kind, warnings in ((0, ("pages_dropped",)), (1, ())):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(first, photometric="rgb", metadata=None)
            writer.write(second[::2, ::2], photometric="rgb", metadata=None, subfiletype=kind)
        image = decode(file.getvalue(), LIMITS)
        assert np.array_equal(image.pixels, first[:, :, ::-1])
        assert image.warnings == warnings


@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_applied_as_for_a_jpeg(drawing: np.ndarray, number: int) -> None:
    data = write(drawing[:, :, ::-1], extratags=[(274, 3, 1, number, True)])
    exif = Pillow.Exif()
    exif[0x0112] = number
    png = io.BytesIO()
    Pillow.fromarray(drawing[:, :, ::-1]).save(png, "PNG", exif=exif.tobytes())
    assert np.array_equal(decode(data, LIMITS).pixels, decode(png.getvalue(), LIMITS).pixels)


def test_a_tile_that_was_not_written_is_black(seeded: np.random.Generator) -> None:
    data = bytearray(write(noise(seeded, 3), tile=(16, 16), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        sizes = tags[325]
        step = sizes.valuebytecount // sizes.count
        data[sizes.valueoffset + step : sizes.valueoffset + 2 * step] = bytes(step)
    pixels = decode(bytes(data), LIMITS).pixels
    assert not pixels[:16, 16:32].any()
    assert pixels[:16, :16].any()


def test_a_tiff_cut_anywhere_is_refused(seeded: np.random.Generator) -> None:
    rgb = noise(seeded, 3)
    for data in (write(rgb), write(rgb, compression="zlib", tile=(16, 16)), write_by_libtiff(rgb, "tiff_lzw")):
        for length in range(4, len(data), 61):
            code = refusal(data[:length]).code
            assert code in (ImageCode.TRUNCATED_IMAGE, ImageCode.CORRUPT_IMAGE, ImageCode.UNSUPPORTED_TYPE), length


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "lzma"])
def test_damaged_pixels_are_refused_without_a_line_on_stderr(
    drawing: np.ndarray, compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(write_by_libtiff(drawing, compression))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        start = file.pages[0].dataoffsets[0]  # type: ignore[union-attr]
    for at in range(start + 40, start + 400, 7):
        data[at] ^= 0x5A
    assert refusal(bytes(data)).code in (ImageCode.CORRUPT_IMAGE, ImageCode.TRUNCATED_IMAGE)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "options", "code", "text"),
    [
        (np.zeros((4, 4), np.float32), {}, "unsupported_type", "floating-point values of 32 bits"),
        (np.zeros((4, 4), np.int16), {}, "unsupported_type", "signed values of 16 bits"),
        (np.zeros((4, 4), np.uint32), {}, "unsupported_type", "unsigned values of 32 bits"),
        (
            np.zeros((4, 4, 4), np.uint8),
            {"photometric": "separated", "extratags": [(332, "H", 1, 2)]},
            "unsupported_colorspace",
            "inks other than CMYK",
        ),
        (np.zeros((4, 4, 3), np.uint8), {"photometric": "cielab"}, "unsupported_colorspace", "CIE Lab"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(
    values: np.ndarray, options: dict[str, Any], code: str, text: str
) -> None:
    error = refusal(write(values, **options))
    assert error.code == code
    assert text in error.message
    assert "accepted are" in error.message


def test_a_camera_raw_file_is_refused_by_its_name(drawing: np.ndarray) -> None:
    data = write(drawing, extratags=[(50_706, 1, 4, b"\1\4\0\0", True)])
    error = refusal(data)
    assert error.code is ImageCode.UNSUPPORTED_TYPE
    assert "DNG" in error.message


def test_a_thumbnail_with_the_rest_in_subdirectories_is_a_raw_file(drawing: np.ndarray) -> None:
    entries = [(254, 4, [1]), (256, 4, [2]), (257, 4, [2]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (277, 3, [1])]
    data = assemble([*entries, (330, 4, [8])], [bytes(4)], tiled=False)
    assert "a camera's raw file, such as NEF" in refusal(data).message
    assert decode(write(drawing, subfiletype=1), LIMITS).pixels.shape == drawing.shape


@pytest.mark.parametrize("big", [False, True])
def test_a_file_that_declares_too_many_pixels_is_refused_before_memory_is_taken(drawing: np.ndarray, big: bool) -> None:
    data = bytearray(write(drawing, bigtiff=big))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        places = [tags[256].valueoffset, tags[257].valueoffset]
    for at in places:
        struct.pack_into("<H", data, at, 65_000)
    tracemalloc.start()
    error = refusal(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.code is ImageCode.TOO_MANY_PIXELS
    assert peak < 1_000_000


def test_tiles_far_larger_than_the_image_are_refused_before_memory_is_taken() -> None:
    entries = [(256, 4, [8]), (257, 4, [8]), (258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1])]
    data = assemble([*entries, (322, 4, [60_000]), (323, 4, [60_000])], [b"x"], tiled=True)
    error = refusal(data)
    assert error.code is ImageCode.CORRUPT_IMAGE
    assert "tiles of 60000x60000" in error.message


def test_a_deflate_bomb_is_read_only_as_far_as_its_pixels_reach() -> None:
    import zlib

    entries = [(256, 4, [8]), (257, 4, [8]), (258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1])]
    data = assemble(entries, [zlib.compress(bytes(100_000_000))], tiled=False)
    tracemalloc.start()
    assert decode(data, LIMITS).pixels.shape == (8, 8, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_many_strips_of_the_same_bytes_are_refused() -> None:
    entries = [(256, 4, [30_000]), (257, 4, [1_000]), (258, 3, [8]), (259, 3, [5]), (262, 3, [1]), (277, 3, [1])]
    entries += [(278, 4, [1])]
    data = bytearray(assemble(entries, [b"\x80" * 10] * 1_000, tiled=False))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]
        for number in range(1_000):
            struct.pack_into("<I", data, tags[273].valueoffset + 4 * number, 8)
            struct.pack_into("<I", data, tags[279].valueoffset + 4 * number, 10_000)
    assert refusal(bytes(data)).code is ImageCode.TRUNCATED_IMAGE


def test_a_loop_of_directories_ends(drawing: np.ndarray) -> None:
    data = bytearray(write(drawing))
    count = struct.unpack_from("<H", data, 8)[0]
    struct.pack_into("<I", data, 10 + 12 * count, 8)
    assert decode(bytes(data), LIMITS).pixels.shape == drawing.shape


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_damaged_tiffs_decode_to_the_size_of_their_header_or_are_refused(
    drawing: np.ndarray, seeded: np.random.Generator, big: bool, tile: tuple[int, int] | None
) -> None:
    data, decoded = write(drawing, bigtiff=big, tile=tile, compression="zlib", predictor=True), 0
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        parts = range(min(page.dataoffsets))  # type: ignore[union-attr]
    for _ in range(400):
        damaged = bytearray(data)
        where = parts if seeded.random() < 0.7 else range(4, len(data))
        for at in seeded.choice(where, seeded.integers(1, 4)):
            damaged[at] = seeded.integers(256)
        try:
            image = decode(bytes(damaged), LIMITS)
        except ImageError:
            continue
        header = read_header(bytes(damaged))
        decoded += 1
        assert sorted(image.pixels.shape[:2]) == sorted((header.height, header.width))
    assert 0 < decoded < 400


def test_a_strip_that_takes_far_more_memory_than_its_pixels_is_refused() -> None:
    entries = [(256, 4, [8_000]), (257, 4, [8_000]), (258, 3, [16] * 16), (259, 3, [8]), (262, 3, [2]), (277, 3, [16])]
    error = refusal(assemble([*entries, (278, 4, [8_000])], [b"x"], tiled=False))
    assert error.code is ImageCode.UNSUPPORTED_TYPE
    assert "strips or tiles of 2048000000 bytes" in error.message
