"""Transparency, depth and colour profiles, from a file to the file that a whole plan makes of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode, Encode
from penstock.common.model.plan import make_plan
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.worker.executors.base import File
from penstock.worker.executors.in_process import InProcessExecutor

LIMITS = Limits()
Chunk = Callable[..., bytes]


def read(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def process(data: bytes, output: str, *operations: object, **decoding: str) -> File:
    """Return the only result of a file, by the plan that `operations`, `output` and the options of reading make."""
    encode = Encode(format=output)  # type: ignore[arg-type]
    plan = make_plan([*operations], encode, LIMITS, Decode.model_validate(decoding))
    executor, parts = InProcessExecutor(LIMITS), [data]
    for operation in (plan.decoding, *plan.operations[:-1]):
        parts = executor.perform(operation, parts)
    (file,) = executor.encode(plan.operations[-1], parts)
    return file


def with_hidden_noise(seeded: np.random.Generator) -> bytes:
    """Draw a transparent PNG whose invisible colours are noise."""
    pixels = seeded.integers(0, 256, (90, 120, 4)).astype(np.uint8)
    pixels[:, :, 3] = 0
    return png(pixels)


@pytest.mark.parametrize("output", ["jpg", "png"])
def test_what_lies_below_transparent_pixels_is_not_seen(output: str, seeded: np.random.Generator) -> None:
    result = read(process(with_hidden_noise(seeded), output, ["resize", "40x30"]).data)
    assert result.std() == 0
    assert result[0, 0].tolist() == [255, 255, 255]


def test_transparent_pixels_show_the_background_that_a_job_asks_for(seeded: np.random.Generator) -> None:
    result = read(process(with_hidden_noise(seeded), "png", background="#0a64fa").data)
    assert np.all(result == (0xFA, 0x64, 0x0A))


def test_alpha_is_kept_into_a_png_where_a_job_wants_it(seeded: np.random.Generator) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = seeded.integers(0, np.iinfo(dtype).max + 1, (20, 30, 4)).astype(dtype)
        assert np.array_equal(read(process(png(pixels), "png", alpha="keep").data), pixels)


def test_a_file_without_transparency_keeps_three_channels_where_alpha_is_kept(drawing: np.ndarray) -> None:
    assert np.array_equal(read(process(png(drawing), "png", alpha="keep").data), drawing)


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 2)])
def test_a_transparent_colour_of_a_file_without_alpha_shows_the_background(
    png_file: type[Any], png_chunk: Chunk, colour: int, depth: int
) -> None:
    file = png_file(9, 7, depth, colour)
    plain = decode(file.build(), LIMITS).pixels
    full = np.iinfo(plain.dtype).max
    seen = plain[3, 4]
    if colour == 3:  # the entry of that pixel
        palette = np.frombuffer(file.palette[8:-4], np.uint8).reshape(-1, 3)[:, ::-1]
        (entry,) = np.flatnonzero((palette == seen).all(axis=1))
        key = b"\xff" * entry + b"\0"
    else:
        levels = (int(level) * ((1 << depth) - 1) // full for level in seen[::-1])
        key = struct.pack(">3H", *levels)[: 2 if colour == 0 else 6]
    data = file.build(before=[png_chunk(b"tRNS", key)])
    hidden = (plain == seen).all(axis=2, keepdims=True)
    assert np.array_equal(decode(data, LIMITS).pixels, np.where(hidden, full, plain))
    kept = decode(data, LIMITS, Decode(alpha="keep")).pixels
    assert np.array_equal(kept[:, :, 3:], np.where(hidden, 0, full))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 6, 8, 9])
def test_a_png_with_transparency_is_turned_upright(
    png_file: type[Any], png_chunk: Chunk, drawing: np.ndarray, number: int
) -> None:
    tiff = b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, number, 0)
    turned = png_file(9, 5, colour=6).build(before=[png_chunk(b"eXIf", tiff)])
    expected = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode(turned, LIMITS, Decode(alpha="keep")).pixels[:, :, :3], expected)


def sixteen_bits() -> np.ndarray:
    """Draw a thermal image in hundredths of a kelvin: 700 values of 65,536."""
    return np.tile(np.arange(7500, 8200, dtype=np.uint16), (50, 1))


def test_16_bits_stay_in_a_png_to_the_last_value() -> None:
    file = process(png(sixteen_bits()), "png")
    result = read(file.data)
    assert result.dtype == np.uint16
    assert np.array_equal(result, np.repeat(sixteen_bits()[:, :, None], 3, axis=2))
    assert file.warnings == ()


@pytest.mark.parametrize("operations", [[["resize", "350x25"]], [["blur", "median"]], [["split", False]]])
def test_16_bits_stay_through_operations_that_have_them(operations: list[object]) -> None:
    file = process(png(sixteen_bits()), "png", *operations)
    result = read(file.data)
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 300
    assert file.warnings == ()


def test_an_operation_or_a_format_of_8_bits_reduces_depth_with_a_warning() -> None:
    data = png(sixteen_bits())
    for file in (process(data, "jpg"), process(data, "png", ["blur", "bilateral"]), process(data, "png", depth="8")):
        result = read(file.data)
        assert result.dtype == np.uint8
        assert result.max() in (31, 32)
        assert file.warnings == ("depth_reduced",)


def test_16_bits_with_transparency_are_flattened_in_16_bits() -> None:
    pixels = np.dstack([sixteen_bits()] * 3 + [np.full((50, 700), 0x8000, np.uint16)])
    result = read(process(png(pixels), "png", background="#000000").data)
    assert np.abs(result[:, :, 0] - sixteen_bits() * (0x8000 / 65535)).max() <= 0.5


@pytest.mark.parametrize(
    ("depth", "colour", "params", "weight"),
    [
        (8, 2, Decode(), 1),
        (8, 6, Decode(), 1),
        (8, 6, Decode(alpha="keep"), 2),
        (8, 3, Decode(alpha="keep"), 2),
        (16, 2, Decode(), 2),
        (16, 6, Decode(depth="8"), 1),
        (16, 6, Decode(alpha="keep"), 4),
        (16, 4, Decode(alpha="keep"), 4),
    ],
)
def test_pixels_that_need_more_memory_count_more_than_once(
    png_file: type[Any], depth: int, colour: int, params: Decode, weight: int
) -> None:
    data = png_file(40, 30, depth, colour).build()
    assert decode(data, Limits(max_pixels=1200 * weight), params).width == 40
    with pytest.raises(ImageError, match="40x30 = 1200 pixels") as refused:
        decode(data, Limits(max_pixels=1200 * weight - 1), params)
    assert refused.value.code is ImageCode.TOO_MANY_PIXELS
    assert (f"which count {weight} times" in refused.value.message) == (weight > 1)
    assert "PENSTOCK_MAX_PIXELS" in refused.value.message
