"""Reduced decoding of JPEG files: sizes, orientation, regions, refusals, and how close the pixels are."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from penstock.common.model.errors import ImageError
from penstock.common.model.operations import Decode, Encode, Resize
from penstock.common.model.plan import Plan, make_plan
from penstock.common.model.regions import Region
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.formats.reduction import find_reduction
from penstock.steps.image import Image
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.executors.safetensors import pack_image, read_image

LIMITS = Limits()


def draw(width: int, height: int) -> np.ndarray:
    """Draw soft shapes of every colour, with a red square at a tenth to three tenths of each side."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, 60 + 50 * np.sin(x / 9) * np.cos(y / 7)], axis=2)
    image = image.astype(np.uint8)
    cv2.circle(image, (width * 2 // 3, height // 2), min(width, height) // 4, (30, 200, 90), -1, cv2.LINE_AA)
    image[height // 10 : height * 3 // 10, width // 10 : width * 3 // 10] = (0, 0, 255)
    return image


def jpeg(image: np.ndarray, *parameters: int, orientation: int = 1) -> bytes:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95, *parameters])[1].tobytes()
    tiff = b"II" + struct.pack("<HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    content = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


def scaled_plan(*operations: str) -> Plan:
    plan = [["resize", operation] for operation in operations]
    return make_plan(plan, Encode(format="png"), LIMITS, Decode(mode="scaled"))


def read(data: bytes, plan: Plan, regions: tuple[Region, ...] = ()) -> Image:
    params = plan.decoding.params.model_copy(update={"regions": regions})
    assert isinstance(params, Decode)
    return decode(data, LIMITS, params)


def process(data: bytes, plan: Plan, regions: tuple[Region, ...] = ()) -> Image:
    executor = InProcessExecutor(LIMITS)
    parts = [read(data, plan, regions)]
    for operation in plan.operations[:-1]:
        parts = executor.perform(operation, parts)
    (made,) = parts
    return made


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    ("short", "factor"),
    [
        ("inside:512x512", 4),
        ("inside:544x544", 4),
        ("inside:545x545", 2),
        ("inside:1088x1088", 2),
        ("inside:1089x1089", 1),
        ("inside:272x272", 8),
        ("inside:8x8", 8),
        ("200x1224", 1),
        ("cover:400x400", 4),
        ("cover:100x800", 2),
        ("pad:512x512", 4),
        ("10%", 4),
        ("inside:512x512,interpolation=cubic", 1),
    ],
)
def test_an_image_is_reduced_as_far_as_the_resize_has_pixels_to_spare(short: str, factor: int) -> None:
    assert find_reduction(3264, 2448, Resize.from_short(short)) == factor


def test_an_image_is_not_reduced_without_a_resize() -> None:
    data = jpeg(draw(640, 480))
    for operations in ([["blur", "median"], ["resize", "10x10"]], []):
        image = read(data, make_plan(operations, None, LIMITS, Decode(mode="scaled")))
        assert (image.width, image.height, image.reduced) == (640, 480, False)
    given = Decode(mode="scaled", target=Resize(width=10, height=10))
    assert not read(data, make_plan(["split"], None, LIMITS, given)).reduced
    exact = read(data, make_plan([["resize", "10x10"]], None, LIMITS))
    assert (exact.width, exact.height, exact.reduced) == (640, 480, False)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (641, 479), (647, 473), (1021, 77), (803, 600)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_libjpeg_makes_the_wanted_part_of_every_size(width: int, height: int, factor: int) -> None:
    side = width // factor // 2 if width < height else int(width / factor / 1.6)
    image = read(jpeg(draw(width, height)), scaled_plan(f"{side}x"))
    assert (image.width, image.height) == (-(-width // factor), -(-height // factor))
    assert (image.metadata.width, image.metadata.height) == (width, height)


@pytest.mark.parametrize(
    "short",
    ["inside:90x90", "cover:90x40", "cover:40x90,gravity=south-east", "pad:90x90", "outside:50x50", "11%", "longest:70",
     "x60", "33x77", "inside:90x90>"],
)  # fmt: skip
@pytest.mark.parametrize(("width", "height"), [(640, 480), (479, 643)])
def test_the_result_has_the_size_and_nearly_the_pixels_of_exact_decoding(short: str, width: int, height: int) -> None:
    data = jpeg(draw(width, height))
    exact = process(data, make_plan([["resize", short]], None, LIMITS))
    made = process(data, scaled_plan(short))
    assert made.pixels.shape == exact.pixels.shape
    assert difference(made.pixels, exact.pixels) < 3
    assert not made.reduced


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation: int) -> None:
    data = jpeg(draw(640, 480), orientation=orientation)
    exact = process(data, make_plan([["resize", "80x"]], None, LIMITS))
    image = read(data, scaled_plan("80x"))
    assert image.reduced
    assert (image.metadata.width, image.metadata.height) == ((640, 480) if orientation < 5 else (480, 640))
    made = process(data, scaled_plan("80x"))
    assert made.pixels.shape == exact.pixels.shape
    assert difference(made.pixels, exact.pixels) < 3


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("short", ["inside:80x80", "cover:60x60", "pad:90x60"])
def test_regions_given_in_pixels_of_the_file_land_where_exact_decoding_puts_them(short: str, orientation: int) -> None:
    data = jpeg(draw(641, 479), orientation=orientation)
    regions = (Region(box=(300, 200, 100, 50), label="sign"),)
    exact = process(data, make_plan([["resize", short]], None, LIMITS), regions)
    made = process(data, scaled_plan(short), regions)
    assert made.transform is not None
    assert made.transform == pytest.approx(exact.transform, abs=0.4)
    (wanted,), (found,) = exact.regions, made.regions
    assert wanted.box is not None
    assert found.box == pytest.approx(wanted.box, abs=0.4)
    assert found.label == "sign"


def test_the_sizes_of_a_second_resize_count_from_the_first_ones_result() -> None:
    made = process(jpeg(draw(640, 480)), scaled_plan("50%", "50%"))
    assert (made.width, made.height) == (160, 120)
    assert process(jpeg(draw(640, 480)), scaled_plan("12.5%", "50%")).width == 40


def test_a_reduced_image_stays_one_on_its_way_to_another_process() -> None:
    image = read(jpeg(draw(640, 480)), scaled_plan("10%"))
    again = read_image(b"".join(bytes(piece) for piece in pack_image(image)))
    assert (again.reduced, again.full_size, again.transform) == (True, (640, 480), image.transform)


@pytest.mark.parametrize("parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_what_exact_decoding_refuses_is_refused(parameters: tuple[int, ...], seeded: np.random.Generator) -> None:
    data = jpeg(draw(640, 480), *parameters)
    plan = scaled_plan("40x")
    assert read(data, plan).reduced
    for _ in range(40):
        damaged = bytearray(data[: seeded.integers(700, len(data))] if seeded.random() < 0.5 else data)
        for at in seeded.integers(700, len(damaged), seeded.integers(1, 4)):
            damaged[at] = seeded.integers(256)
        codes = []
        for params in (Decode(), plan.decoding.params):
            assert isinstance(params, Decode)
            try:
                decode(bytes(damaged), LIMITS, params)
                codes.append(None)
            except ImageError as error:
                codes.append(error.code)
        assert codes[0] == codes[1]


def test_a_grey_file_is_reduced_too() -> None:
    data = jpeg(draw(640, 480)[..., 1])
    made = process(data, scaled_plan("80x"))
    assert np.array_equal(made.pixels[..., 0], made.pixels[..., 2])
    exact = process(data, make_plan([["resize", "80x"]], None, LIMITS))
    assert difference(made.pixels, exact.pixels) < 3


def test_other_formats_are_decoded_exactly() -> None:
    data = cv2.imencode(".png", draw(640, 480))[1].tobytes()
    assert not read(data, scaled_plan("40x")).reduced


def test_reduced_photographs_are_close_to_exact_ones(photographs: Path) -> None:
    for path in sorted((photographs / "street").glob("*.jpg"))[::6]:
        data = path.read_bytes()
        exact = process(data, make_plan([["resize", "inside:320x320"]], None, LIMITS))
        made = process(data, scaled_plan("inside:320x320"))
        assert simplejpeg.decode_jpeg_header(data)[1] != read(data, scaled_plan("inside:320x320")).width
        assert cv2.PSNR(made.pixels, exact.pixels) > 30
