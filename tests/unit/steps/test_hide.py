from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.common.model.effects import Blur
from penstock.common.model.plan import Planned
from penstock.common.model.regions import Region
from penstock.common.settings import Limits
from penstock.steps.blur import blur
from penstock.steps.image import Image
from penstock.worker.executors.in_process import InProcessExecutor

METHODS: list[Any] = ["gaussian", "pixelate", "fill"]
ONE_COLOUR = [{"method": "gaussian", "samples": 1}, {"method": "pixelate", "samples": 1}, {"method": "fill"}]
FACE = Region(box=(30, 20, 40, 32), label="face", score=0.9)


def noise(height: int = 100, width: int = 140, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    random = np.random.default_rng(8)
    return random.integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)


def hidden(pixels: np.ndarray, *regions: Region, **fields: Any) -> np.ndarray:
    return blur(pixels, Blur(where="regions", **{"method": "pixelate"} | fields), regions)


def distances(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> np.ndarray:
    """Return how many pixels each is away from a box of left, top, right and bottom; 0 within."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    left, top, right, bottom = box
    across = np.maximum(np.maximum(left - x, x - right + 1), 0)
    return np.maximum(across, np.maximum(np.maximum(top - y, y - bottom + 1), 0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("feather", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_beyond_the_soft_edge_no_bit_changes(method: str, feather: float, dtype: type) -> None:
    pixels = noise(dtype=dtype)
    before = pixels.copy()
    made = hidden(pixels, FACE, method=method, feather=feather)
    away = distances(pixels.shape, (30, 20, 70, 52))
    beyond = away > 2 * -(-int(feather * 320) // 20)
    assert np.array_equal(made[beyond], pixels[beyond])
    assert np.array_equal(pixels, before)
    assert (made != pixels)[away == 0].mean() > 0.9


@pytest.mark.parametrize("method", ["gaussian", "pixelate"])
@pytest.mark.parametrize("samples", [1, 2, 4])
def test_images_with_the_same_means_have_the_same_result(method: str, samples: int) -> None:
    # One area of each mean is mirrored: other pixels, and the same means. Whoever has the result cannot tell which.
    box = Region(box=(16, 16, 64, 64))
    pixels = noise()
    other = pixels.copy()
    side = 64 // samples
    for top in range(16, 80, side):
        for left in range(16, 80, side):
            area = np.s_[top : top + side, left : left + side]
            other[area] = pixels[area][::-1, ::-1]
    assert (other != pixels)[16:80, 16:80].mean() > 0.9
    for feather in (0, 0.3):
        made = hidden(pixels, box, method=method, samples=samples, feather=feather)
        assert np.array_equal(made, hidden(other, box, method=method, samples=samples, feather=feather))


def test_a_mosaic_has_as_many_colours_as_means() -> None:
    made = hidden(noise(), Region(box=(10, 10, 80, 40)), samples=4)[10:50, 10:90]
    assert len(np.unique(made.reshape(-1, 3), axis=0)) == 4 * 2


def test_a_fill_leaves_nothing_of_a_region() -> None:
    pixels = noise()
    other = pixels.copy()
    other[20:52, 30:70] = 255 - other[20:52, 30:70]
    assert np.array_equal(hidden(pixels, FACE, method="fill"), hidden(other, FACE, method="fill"))
    assert (hidden(pixels, FACE, method="fill", color="#ff8000")[20:52, 30:70] == (0, 0x80, 0xFF)).all()


@pytest.mark.parametrize("strength", ONE_COLOUR)
def test_every_pixel_that_a_region_touches_is_hidden(strength: dict[str, Any]) -> None:
    made = hidden(noise(), Region(box=(30.9, 20.9, 38.2, 30.2)), **strength)
    assert np.ptp(made[20:52, 30:70].reshape(-1, 3), axis=0).max() == 0


@pytest.mark.parametrize(("width", "height"), [(2, 2), (3, 2), (5, 1), (3, 3), (7, 5)])
def test_a_region_with_fewer_pixels_than_means_is_hidden_too(width: int, height: int) -> None:
    made = hidden(noise(), Region(box=(50, 40, width, height)), samples=8, feather=0)[40 : 40 + height, 50 : 50 + width]
    assert len(np.unique(made.reshape(-1, 3), axis=0)) <= max(1, width // 2) * max(1, height // 2)


def test_a_polygon_is_hidden_and_what_is_around_it_stays() -> None:
    pixels = noise()
    made = hidden(pixels, Region(polygon=((70, 10), (120, 50), (70, 90), (20, 50))), method="fill", feather=0)
    black = (made == 0).all(axis=2)
    assert black[50, 21:119].all()
    assert black[12:89, 70].all()
    assert np.array_equal(made[:25, :25], pixels[:25, :25])
    assert black.sum() == pytest.approx(100 * 80 / 2, rel=0.1)


def test_a_star_has_no_hole() -> None:
    star = Region(polygon=((70, 5), (95, 85), (30, 35), (110, 35), (45, 85)))
    made = hidden(noise(), star, method="fill", feather=0)
    assert (made[45, 70] == 0).all()


def test_only_regions_with_one_of_the_labels_are_hidden() -> None:
    pixels = noise()
    plate, sign = Region(box=(90, 70, 20, 10), label="plate"), Region(box=(5, 70, 20, 10), label="sign")
    made = hidden(pixels, FACE, plate, sign, labels=("face", "plate"))
    assert np.array_equal(made[68:, :30], pixels[68:, :30])
    assert not np.array_equal(made[70:80, 90:110], pixels[70:80, 90:110])
    assert np.array_equal(made, hidden(pixels, FACE, plate))
    assert Blur.from_short("fill,where=regions,labels=face,labels=plate").labels == ("face", "plate")
    assert Blur.from_short("fill,where=regions,labels=face").labels == ("face",)


def test_without_regions_the_image_is_returned_as_it_is() -> None:
    pixels = noise()
    assert hidden(pixels) is pixels
    assert hidden(pixels, Region(box=(500, 500, 10, 10))) is pixels
    assert hidden(pixels, FACE, labels=("plate",)) is pixels


@pytest.mark.parametrize("method", METHODS)
def test_a_region_is_cut_at_the_edges_of_the_image(method: str) -> None:
    pixels = noise()
    over = Region(box=(-50, 60, 90, 400))
    made = hidden(pixels, over, method=method, feather=0)
    assert np.array_equal(made, hidden(pixels, Region(box=(0, 60, 40, 40)), method=method, feather=0))
    assert np.array_equal(made[:, 40:], pixels[:, 40:])


def test_the_soft_edge_goes_from_cover_to_image() -> None:
    grey = np.full((100, 140, 3), 200, np.uint8)
    made = hidden(grey, FACE, method="fill", feather=0.5)[36, 70:90, 0].astype(int)
    assert made[0] < 30
    assert made[-1] == 200
    assert (np.diff(made) >= 0).all()


@pytest.mark.parametrize("strength", ONE_COLOUR)
def test_alpha_is_hidden_with_the_colours(strength: dict[str, Any]) -> None:
    made = hidden(noise(channels=4), FACE, **strength)
    assert np.ptp(made[20:52, 30:70, 3]) == 0


def test_a_worker_gives_blur_the_regions_of_the_image() -> None:
    pixels = noise()
    params = Blur(method="pixelate", where="regions")
    [made] = InProcessExecutor(Limits()).perform(Planned("blur", params), [Image(pixels, regions=(FACE,))])
    assert np.array_equal(made.pixels, hidden(pixels, FACE))
    assert made.regions == (FACE,)
