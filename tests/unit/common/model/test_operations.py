"""Parameter models: short forms, examples, descriptions and immutability."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from penstock.common.model.operations import BUILT_IN, Encode, Parameters, Resize, Split
from penstock.common.model.parameters import Gravity, place


class One(Parameters):
    amount: int = 10


class Two(Parameters):
    low: int = 0
    high: int = 9


@pytest.mark.parametrize(("value", "amount"), [(True, 10), (3, 3), ("3", 3), ({"amount": 4}, 4), ({}, 10)])
def test_a_single_parameter_can_be_given_without_its_name(value: Any, amount: int) -> None:
    assert One.from_short(value).amount == amount


def test_one_value_for_several_parameters_is_refused_with_their_names() -> None:
    assert Two.from_short({"high": 5}).high == 5
    with pytest.raises(ValueError, match="accepted is an object with low, high"):
        Two.from_short(5)


@pytest.mark.parametrize("model", BUILT_IN.values(), ids=BUILT_IN)
def test_every_example_is_accepted_and_survives_its_long_form(model: type[Parameters]) -> None:
    made = model.from_short(model.example)
    assert model.from_short(made.model_dump(mode="json")) == made


@pytest.mark.parametrize("model", BUILT_IN.values(), ids=BUILT_IN)
def test_unknown_parameters_are_refused(model: type[Parameters]) -> None:
    with pytest.raises(ValidationError):
        model.from_short({**model.from_short(model.example).model_dump(), "colour": "red"})


@pytest.mark.parametrize("model", BUILT_IN.values(), ids=BUILT_IN)
def test_every_field_has_a_description_for_the_docs(model: type[Parameters]) -> None:
    assert all(field.description for field in model.model_fields.values())
    assert model.__doc__


def test_parameters_are_immutable() -> None:
    with pytest.raises(ValidationError):
        Resize(width=1, height=1).width = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "parts", "nothing"), [(True, 4, False), (False, 1, True), ({"enabled": False}, 1, True)]
)
def test_split_makes_four_parts_or_does_nothing(value: Any, parts: int, nothing: bool) -> None:
    made = Split.from_short(value)
    assert (made.parts, made.does_nothing) == (parts, nothing)


def test_encode_knows_its_media_type() -> None:
    assert [Encode.from_short(name).media_type for name in ("jpg", "png")] == ["image/jpeg", "image/png"]


@pytest.mark.parametrize(
    ("gravity", "at"),
    [
        ("north-west", (0, 0)), ("north", (4, 0)), ("north-east", (9, 0)),
        ("west", (0, 2)), ("centre", (4, 2)), ("east", (9, 2)),
        ("south-west", (0, 5)), ("south", (4, 5)), ("south-east", (9, 5)),
    ],
)  # fmt: skip
def test_gravity_divides_the_space_that_is_left(gravity: Gravity, at: tuple[int, int]) -> None:
    assert place(gravity, 9, 5) == at
