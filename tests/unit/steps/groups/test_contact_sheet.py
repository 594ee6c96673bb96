"""Contact sheet: where copies and names are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import ContactSheet
from penstock.common.model.resize import Resize
from penstock.common.settings import Limits
from penstock.steps.groups.contact_sheet import contact_sheet
from penstock.steps.groups.image import GroupImage

WHITE = (255, 255, 255)


def make_image(pixels: np.ndarray, name: str = "a.png") -> GroupImage:
    data = cv2.imencode(".png", pixels)[1].tobytes()
    height, width = pixels.shape[:2]
    return GroupImage(name, width, height, (), None, {}, lambda: data, Limits())


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), np.uint8)


def lay_out(images: Sequence[np.ndarray], **params: object) -> list[np.ndarray]:
    fields = {"columns": 2, "rows": 2, "width": 40, "height": 30, "gap": 4, "captions": False, **params}
    group = [make_image(image, f"{number}.png") for number, image in enumerate(images)]
    return [*contact_sheet(group, ContactSheet.model_validate(fields))]


def test_copies_are_in_the_middle_of_their_cells_in_reading_order() -> None:
    small, wide, tall = noise(20, 10, 1), noise(80, 30, 2), noise(15, 60, 3)
    [sheet] = lay_out([small, wide, tall])
    expected = np.full((2 * 34 + 4, 2 * 44 + 4, 3), WHITE, np.uint8)
    expected[4 + 10 : 24, 4 + 10 : 34] = small
    expected[4 + 7 : 26, 48:88] = cv2.resize(wide, (40, 15), interpolation=cv2.INTER_AREA)
    copy = cv2.resize(tall, (8, 30), interpolation=cv2.INTER_AREA)
    expected[38:68, 4 + 16 : 28] = copy
    assert np.array_equal(sheet, expected)


@pytest.mark.parametrize(
    ("count", "shapes"),
    [
        (1, [(38, 48)]),
        (2, [(38, 92)]),
        (3, [(72, 92)]),
        (5, [(72, 92), (38, 48)]),
        (8, [(72, 92), (72, 92)]),
        (0, []),
    ],
)
def test_a_group_gets_as_many_sheets_as_it_needs_and_the_last_one_is_no_larger(
    count: int, shapes: list[tuple[int, int]]
) -> None:
    assert [sheet.shape[:2] for sheet in lay_out([noise(9, 9)] * count)] == shapes


@pytest.mark.parametrize(("background", "text"), [("#ffffff", 0), ("#102030", 255), ("#ffff00", 0), ("#0000ff", 255)])
def test_names_stand_below_in_black_or_white(background: str, text: int) -> None:
    [sheet] = lay_out([noise(40, 30)], captions=True, background=background, width=100)
    caption = sheet[34 + 1 : 34 + 24, 4:104]
    colour = np.array([int(background[at : at + 2], 16) for at in (5, 3, 1)])
    inked = np.any(caption != colour, axis=2)
    assert 20 < inked.sum() < inked.size / 4
    assert (caption == text).all(axis=2).any()
    sheet[34 + 1 : 34 + 24, 4:104] = colour
    sheet[4:34, 4:104] = colour
    assert (sheet == colour).all(), "nothing is written elsewhere"


def test_the_beginning_of_a_long_name_is_left_out() -> None:
    params = ContactSheet(columns=1, rows=1, width=100, height=30)
    name = "x" * 300 + "/IMG_0042.jpg"
    [long] = contact_sheet([make_image(noise(9, 9), name)], params)
    [other] = contact_sheet([make_image(noise(9, 9), "y" * 300 + "/IMG_0042.jpg")], params)
    columns = np.flatnonzero((long[46:69] != 255).any(axis=(0, 2)))
    assert columns.min() >= 16
    assert columns.max() < 116
    assert np.array_equal(long[:, 60:], other[:, 60:]), "the end of the name is shown"


def test_sheets_are_made_as_they_are_asked_for() -> None:
    taken: list[int] = []

    def images() -> Iterator[GroupImage]:
        for number in range(10):
            taken.append(number)
            yield make_image(noise(9, 9))

    sheets = contact_sheet(images(), ContactSheet(columns=2, rows=1))
    next(sheets)
    assert taken == [0, 1]


def test_an_image_that_cannot_be_read_is_named() -> None:
    broken = GroupImage("north/x.jpg", 1, 1, (), None, {}, lambda: b"no image", Limits())
    with pytest.raises(ImageError) as caught:
        broken.read()
    assert caught.value.code is ImageCode.UNSUPPORTED_TYPE
    assert caught.value.message.startswith("north/x.jpg: the file is")


def test_pixels_are_read_as_they_are_or_scaled() -> None:
    pixels = noise(64, 48)
    image = make_image(pixels)
    assert np.array_equal(image.read(), pixels)
    size = Resize(width=32, height=32, fit="inside")
    assert np.array_equal(image.read(size), cv2.resize(pixels, (32, 24), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("short", ["6", "0x3", "ax3", "101x2", 4])
def test_what_is_no_grid_is_refused(short: object) -> None:
    with pytest.raises(ValueError, match=r"accepted|less than|greater than"):
        ContactSheet.from_short(short)
    assert ContactSheet.from_short("3x4") == ContactSheet(columns=3, rows=4)
