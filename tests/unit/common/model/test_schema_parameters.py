"""Declared steps: a JSON Schema is all that is known of their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.common.model.errors import PlanError
from penstock.common.model.plan import make_plan, plan_of, read_operation
from penstock.common.registry import StepError, custom_steps, declare_steps, declared_steps, operations
from penstock.common.settings import Limits, SettingsError, WorkerSettings, load

SHARPEN = {
    "type": "object",
    "description": "Sharpen by an amount.",
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 9, "default": 2},
        "parts": {"enum": ["all", "some"]},
    },
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    declare_steps({})


def test_a_declared_step_stands_among_the_operations_with_the_schema_as_given() -> None:
    declare_steps({"sharpen": SHARPEN})
    assert list(operations()) == ["resize", "split", "blur", "encode", "sharpen"]
    assert operations()["sharpen"].model_json_schema() == SHARPEN
    assert operations()["sharpen"].__doc__ == "Sharpen by an amount."
    assert declared_steps() == {"sharpen"}


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("sharpen", {"amount": 2}),
        (["sharpen", 3], {"amount": 3}),
        (["sharpen", {"parts": "all"}], {"amount": 2, "parts": "all"}),
        ({"op": "sharpen", "amount": 9}, {"amount": 9}),
    ],
)
def test_both_forms_are_read_and_defaults_filled_in(given: Any, fields: dict[str, Any]) -> None:
    declare_steps({"sharpen": SHARPEN})
    planned = read_operation(given, "/operations/0")
    assert planned.document() == {"op": "sharpen", **fields}
    assert plan_of([planned.document()]).operations == (planned,)


def test_true_switches_on_what_is_a_switch() -> None:
    declare_steps({"flip": {"properties": {"upright": {"type": "boolean", "default": False}}}})
    assert read_operation(["flip", True], "").document() == {"op": "flip", "upright": True}
    assert read_operation(["flip", {}], "").document() == {"op": "flip", "upright": False}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("much", "sharpen: amount: 'much' is not of type 'integer'"),
        (0, "sharpen: amount: 0 is less than the minimum of 1"),
        ({"radius": 1}, "sharpen: Additional properties are not allowed ('radius' was unexpected)"),
    ],
)
def test_what_the_schema_does_not_accept_is_refused_in_one_line(value: Any, said: str) -> None:
    declare_steps({"sharpen": SHARPEN})
    with pytest.raises(PlanError) as caught:
        make_plan([["sharpen", value]], None, Limits())
    assert caught.value.message == said
    assert caught.value.pointer == "/operations/0"


def test_a_schema_without_properties_takes_no_short_value() -> None:
    declare_steps({"invert": {}})
    assert read_operation("invert", "").document() == {"op": "invert"}
    with pytest.raises(PlanError, match="accepted is an object"):
        read_operation(["invert", 3], "")


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        ("Sharpen", {}, "is not a step name"),
        ("blur", {}, "an operation of Penstock's own"),
        ("sharpen", {"type": "nonsense"}, "no JSON Schema: type"),
        ("sharpen", {"type": "array"}, "accepted is object"),
        ("sharpen", {"properties": {"op": {}}}, "a property 'op'"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_name(name: str, schema: dict[str, Any], said: str) -> None:
    with pytest.raises(StepError) as caught:
        declare_steps({"fine": {}, name: schema})
    assert said in caught.value.message
    assert caught.value.message.startswith(f"declared step {name}:")
    assert declared_steps() == frozenset()


def test_a_schema_that_refers_to_the_network_fetches_nothing() -> None:
    declare_steps({"sharpen": {"properties": {"amount": {"$ref": "http://127.0.0.1:9/schema.json"}}}})
    with pytest.raises(PlanError, match="refers to what is not in it"):
        read_operation(["sharpen", 1], "")


def test_what_a_package_brings_goes_before_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("tests/plugins")
    custom_steps.cache_clear()
    try:
        declare_steps({"brighten": {}, "sharpen": SHARPEN})
        assert "amount" in operations()["brighten"].model_fields
        assert declared_steps() == {"sharpen"}
    finally:
        custom_steps.cache_clear()


def test_the_settings_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DECLARED_STEPS", '{"sharpen": {"params": {"type": "object"}}}')
    monkeypatch.setenv("PENSTOCK_PROGRAM", '["/usr/bin/sharpen", "-v"]')
    settings = load(WorkerSettings)
    assert settings.step_schemas == {"sharpen": {"type": "object"}}
    assert settings.program == ("/usr/bin/sharpen", "-v")
    monkeypatch.setenv("PENSTOCK_PROGRAM", "/usr/bin/sharpen -v")
    with pytest.raises(SettingsError, match=r'field "program".*accepted is JSON'):
        load(WorkerSettings)
