"""The sizes that parameters predict are those that steps make."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from penstock.common.model.parameters import Parameters
from penstock.common.model.plan import read_operation
from penstock.steps.image import StepOutput
from penstock.steps.table import step_functions


def shape_of(made: Any) -> tuple[int, int]:
    pixels = made.pixels if isinstance(made, StepOutput) else made
    return pixels.shape[1], pixels.shape[0]


@pytest.mark.parametrize("size", [(97, 61), (61, 97), (64, 64), (5, 3)])
@pytest.mark.parametrize(
    "operation",
    [
        ["resize", "40x30"],
        ["resize", "inside:40x30"],
        ["resize", "cover:40x30"],
        ["resize", "pad:40x30"],
        ["resize", "33%"],
        ["crop", "16:9"],
        ["crop", "50%x50%"],
        ["crop", "4x3+1+0"],
        ["crop", "400x300+1+1,outside=clip"],
        ["rotate", 90],
        ["rotate", 12.5],
        ["tile", "3x2"],
        ["tile", "32,overlap=8"],
        ["tile", "32,overlap=8,last=shifted"],
        ["split", True],
        ["split", False],
    ],
    ids=str,
)
def test_a_step_makes_the_sizes_that_its_parameters_say(operation: list[Any], size: tuple[int, int]) -> None:
    planned = read_operation(operation, "")
    sizes = planned.params.sizes(*size)
    made = step_functions()[planned.step](np.zeros((size[1], size[0], 3), np.uint8), planned.params)
    parts = made if isinstance(made, list | tuple) and not isinstance(made, StepOutput) else [made]
    assert sizes == Counter(map(shape_of, parts))
    extent = planned.params.extent(*size)
    assert extent is not None
    assert (extent.parts, extent.pixels) == (len(parts), sum(wide * high for wide, high in map(shape_of, parts)))


@pytest.mark.parametrize(
    ("operation", "size"), [("split", (1, 9)), (["tile", "9x1"], (8, 8)), (["crop", "4x4+9+9"], (8, 8))]
)
def test_sizes_are_not_known_where_a_step_does_not_apply(operation: Any, size: tuple[int, int]) -> None:
    assert read_operation(operation, "").params.sizes(*size) is None


def test_a_step_that_does_not_say_has_no_sizes() -> None:
    assert Parameters().sizes(4, 3) is None
    assert Parameters().extent(4, 3) is None
