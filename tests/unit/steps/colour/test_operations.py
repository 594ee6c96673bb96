"""Every built-in operation, on pixels of any depth, with transparency and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.common.model.operations import BUILT_IN
from penstock.common.model.plan import read_operation
from penstock.common.registry import group_steps
from penstock.steps.colour.alpha import flatten
from penstock.steps.image import StepOutput
from penstock.steps.table import step_functions

OPERATIONS: list[list[Any]] = [
    ["resize", "30x20"],
    ["resize", {"width": 200, "height": 150, "interpolation": "cubic"}],
    ["resize", {"width": 50, "height": 50, "fit": "pad", "background": "#102030"}],
    ["resize", {"width": 31, "height": 31, "fit": "cover", "interpolation": "lanczos4"}],
    ["crop", {"width": 40, "height": 30, "x": 5, "y": 7}],
    ["rotate", {"angle": 90}],
    ["rotate", {"angle": 12}],
    ["tile", {"columns": 3, "rows": 2}],
    ["split", True],
    ["adjust", {"brightness": 0.1, "contrast": 1.2}],
    ["adjust", {"gamma": 1.4, "saturation": 1.3}],
    ["adjust", {"grayscale": True}],
    ["adjust", {"sharpen": 1.0}],
    ["adjust", {"gamma": 0.7, "sharpen": 1.0, "sharpen_sigma": 5}],
    ["blur", "gaussian"],
    ["blur", "updownsampling"],
    ["blur", "median"],
    ["blur", {"method": "median", "aperture": 15}],
    ["blur", {"method": "gaussian", "sigma": 4}],
    ["blur", {"method": "pixelate", "block": 8}],
    ["blur", {"method": "fill"}],
    ["blur", "bilateral"],
]


def apply(operation: list[Any], pixels: np.ndarray) -> list[np.ndarray]:
    planned = read_operation(operation, "/")
    made = step_functions()[planned.step](pixels, planned.params)
    outputs = made if isinstance(made, (list, tuple)) else [made]
    return [output.pixels if isinstance(output, StepOutput) else output for output in outputs]


def shapes(drawing: np.ndarray) -> np.ndarray:
    """Return the drawing with soft shapes of it visible, and the rest transparent."""
    y, x = np.mgrid[0 : drawing.shape[0], 0 : drawing.shape[1]]
    waves = np.sin(x / 9) + np.sin(y / 7)
    alpha = np.clip(900 * waves, 0, 255).astype(np.uint8)
    return np.dstack([drawing, alpha])


def test_every_operation_is_tried() -> None:
    assert {name for name, _ in OPERATIONS} == {*BUILT_IN} - {"encode"} - group_steps()


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_give_the_result_of_8_bits_and_keep_their_depth(
    drawing: np.ndarray, operation: list[Any], channels: int
) -> None:
    if not read_operation(operation, "/").params.supports_16_bit:
        pytest.skip("the plan reduces its images to 8 bits")
    shallow = shapes(drawing)[:, :, :channels].copy()
    for eight, sixteen in zip(
        apply(operation, shallow), apply(operation, shallow.astype(np.uint16) * 257), strict=True
    ):
        assert eight.dtype == np.uint8
        assert sixteen.dtype == np.uint16
        assert eight.shape == sixteen.shape
        assert eight.shape[2] == channels
        visible = eight[:, :, 3:] > 16 if channels == 4 else True
        difference = np.abs(sixteen[:, :, :3] / 257 - eight[:, :, :3]) * visible
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.99) < 4


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_of_invisible_pixels_never_show(
    drawing: np.ndarray, seeded: np.random.Generator, operation: list[Any], dtype: type[np.uint8 | np.uint16]
) -> None:
    params = read_operation(operation, "/").params
    if dtype == np.uint16 and not params.supports_16_bit:
        pytest.skip("the plan reduces its images to 8 bits")
    assert params.supports_alpha
    full = np.iinfo(dtype).max
    black = shapes(drawing).astype(dtype) * dtype(full // 255)
    hidden = black[:, :, 3] == 0
    assert hidden.any()
    black[hidden, :3] = 0
    noise = black.copy()
    noise[hidden, :3] = seeded.integers(0, full + 1, (int(hidden.sum()), 3))
    for one, other in zip(apply(operation, black), apply(operation, noise), strict=True):
        shown, expected = (flatten(each, (255, 255, 255)).astype(int) for each in (other, one))
        assert np.abs(shown - expected).max() <= full // 255
