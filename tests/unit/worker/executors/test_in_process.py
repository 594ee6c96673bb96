"""One operation on all parts of an image, and what is checked of what it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Blur, Parameters, Split
from penstock.common.model.plan import Planned
from penstock.common.registry import CustomStep
from penstock.common.settings import Limits
from penstock.worker.executors import in_process as compute

PART = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.fixture
def perform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Any]]]:
    """Perform a function as if it were an installed step."""

    def run(function: Callable[[Any], Any], *parts: Any, **limits: Any) -> list[Any]:
        own = CustomStep("own", Parameters, lambda image, params: function(image))
        monkeypatch.setattr(compute, "step_functions", lambda: {"own": own})
        return compute.perform(Planned("own", Parameters()), list(parts) or [PART], Limits(**limits))

    return run


def refusal(perform: Callable[..., Any], function: Callable[[Any], Any], *parts: Any, **limits: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        perform(function, *parts, **limits)
    assert "\n" not in caught.value.message
    return caught.value


def test_parts_follow_in_the_order_of_those_they_came_from() -> None:
    quarters = compute.perform(Planned("split", Split()), [PART, PART + 1], Limits())
    assert len(quarters) == 8
    assert np.array_equal(quarters[0], PART[:2, :3])
    assert np.array_equal(quarters[7], PART[2:, 3:] + 1)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_step_may_return_one_picture_or_several(perform: Callable[..., Any], kind: type) -> None:
    assert len(perform(lambda image: image)) == 1
    assert len(perform(lambda image: kind([image, image]), PART, PART)) == 4


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "own returned NoneType; accepted is H×W×3 uint8"),
        (PART[:, :, 0], "own returned uint8 (4, 6)"),
        (PART.astype(np.float32), "own returned float32 (4, 6, 3)"),
        (np.zeros((4, 6, 4), np.uint8), "own returned uint8 (4, 6, 4)"),
        ([PART, "picture"], "own returned str"),
    ],
    ids=["none", "grey", "float", "alpha", "text"],
)
def test_what_is_no_picture_fails_the_image(perform: Callable[..., Any], made: Any, said: str) -> None:
    error = refusal(perform, lambda image: made)
    assert error.code == ImageCode.INTERNAL
    assert said in error.message


def test_a_step_that_leaves_nothing_does_not_apply(perform: Callable[..., Any]) -> None:
    for made in ([], PART[:0]):
        assert refusal(perform, lambda image, made=made: made).code == ImageCode.PARAMETER_NOT_APPLICABLE


def test_parts_and_pixels_have_their_bounds(perform: Callable[..., Any]) -> None:
    assert len(perform(lambda image: [image] * 4, max_parts=4)) == 4
    assert refusal(perform, lambda image: [image] * 5, max_parts=4).code == ImageCode.PARAMETER_NOT_APPLICABLE
    assert perform(lambda image: [image] * 4, max_pixels=96)
    assert refusal(perform, lambda image: [image] * 4, max_pixels=95).code == ImageCode.TOO_MANY_PIXELS


def test_an_exception_becomes_a_line_that_names_the_step(perform: Callable[..., Any]) -> None:
    def fall(image: Any) -> Any:
        raise KeyError("one\n  two\t" + "x" * 1_000)

    error = refusal(perform, fall)
    assert error.message.startswith("own raised KeyError: ")
    assert len(error.message) < 260


def test_what_a_step_says_of_the_image_itself_is_passed_on(perform: Callable[..., Any]) -> None:
    def refuse(image: Any) -> Any:
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, "too small")

    assert refusal(perform, refuse).code == ImageCode.PARAMETER_NOT_APPLICABLE


def test_running_out_of_memory_is_not_the_steps_own_fault(perform: Callable[..., Any]) -> None:
    def grow(image: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        perform(grow)


def test_a_step_cannot_change_what_it_was_given(perform: Callable[..., Any]) -> None:
    part = PART.copy()

    def scribble(image: Any) -> Any:
        image[:] = 0
        return image

    assert "read-only" in refusal(perform, scribble, part).message
    assert np.array_equal(part, PART)
    assert part.flags.writeable


def test_a_split_of_one_pixel_does_not_apply() -> None:
    with pytest.raises(ImageError) as caught:
        compute.perform(Planned("split", Split()), [PART[:1, :1]], Limits())
    assert caught.value.code == ImageCode.PARAMETER_NOT_APPLICABLE


def test_views_of_any_layout_are_blurred_as_copies_are() -> None:
    planned = Planned("blur", Blur(method="median"))
    view = np.tile(PART, (4, 4, 1))[1::2, 3:20]
    [one], [other] = (compute.perform(planned, [part], Limits()) for part in (view, view.copy()))
    assert np.array_equal(one, other)
