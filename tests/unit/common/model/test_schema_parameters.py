"""Declared steps: their parameters are checked by a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.common.model.errors import PlanError
from penstock.common.model.operations import BUILT_IN
from penstock.common.model.plan import make_plan, plan_of, read_operation
from penstock.common.registry import broken_steps, custom_steps, declare_steps, declared_steps, operations
from penstock.common.settings import DeclaredStep, Limits, SettingsError, WorkerSettings, load
from penstock.worker.process.served_steps import read_steps

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
def no_declared_steps() -> Iterator[None]:
    yield
    declare_steps({})


def test_a_declared_step_is_listed_among_the_operations_with_its_schema() -> None:
    declare_steps({"sharpen": DeclaredStep(params=SHARPEN)})
    assert list(operations()) == [*BUILT_IN, "sharpen"]
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
def test_both_forms_are_parsed_and_defaults_filled_in(given: Any, fields: dict[str, Any]) -> None:
    declare_steps({"sharpen": DeclaredStep(params=SHARPEN)})
    planned = read_operation(given, "/operations/0")
    assert planned.document() == {"op": "sharpen", **fields}
    assert plan_of([planned.document()]).operations == (planned,)


def test_true_is_the_value_of_a_boolean_parameter() -> None:
    schema = {"properties": {"upright": {"type": "boolean", "default": False}}}
    declare_steps({"flip": DeclaredStep(params=schema)})
    assert read_operation(["flip", True], "").document() == {"op": "flip", "upright": True}
    assert read_operation(["flip", {}], "").document() == {"op": "flip", "upright": False}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("much", "sharpen: amount: 'much' is not of type 'integer'"),
        (0, "sharpen: amount: 0 is less than the minimum of 1"),
        ({"radius": 1}, "sharpen: no parameter 'radius'; accepted are amount and parts"),
        ({"parts": "al"}, "sharpen: parts: 'al' is not accepted; accepted are all and some; did you mean all?"),
    ],
)
def test_parameters_that_the_schema_refuses_are_refused_in_one_line(value: Any, said: str) -> None:
    declare_steps({"sharpen": DeclaredStep(params=SHARPEN)})
    with pytest.raises(PlanError) as caught:
        make_plan([["sharpen", value]], None, Limits())
    assert caught.value.message == said
    assert caught.value.pointer == "/operations/0"


def test_a_schema_without_properties_takes_no_short_value() -> None:
    declare_steps({"invert": DeclaredStep()})
    assert read_operation("invert", "").document() == {"op": "invert"}
    with pytest.raises(PlanError, match="accepted is an object"):
        read_operation(["invert", 3], "")


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        ("Sharpen", {}, "is not a step name"),
        ("blur", {}, "a built-in operation"),
        ("sharpen", {"type": "nonsense"}, "not a JSON Schema: type"),
        ("sharpen", {"type": "array"}, "accepted is object"),
        ("sharpen", {"properties": {"op": {}}}, "a property 'op'"),
    ],
)
def test_a_wrongly_declared_step_is_switched_off_with_the_reason(name: str, schema: dict[str, Any], said: str) -> None:
    declare_steps({"fine": DeclaredStep(), name: DeclaredStep(params=schema)})
    assert declared_steps() == {"fine"}
    assert broken_steps()[name].startswith(f"declared step {name}:")
    assert said in broken_steps()[name]


def test_a_job_that_names_a_broken_step_is_refused_with_the_reason() -> None:
    declare_steps({"sharpen": DeclaredStep(params={"type": "nonsense"})})
    with pytest.raises(PlanError, match="sharpen is switched off: declared step sharpen: not a JSON") as at:
        read_operation(["sharpen", 1], "/operations/0")
    assert (at.value.code, at.value.pointer) == ("operation_disabled", "/operations/0")


def test_a_worker_of_a_broken_step_stops_with_the_reason_and_others_do_not() -> None:
    declare_steps({"sharpen": DeclaredStep(params={"type": "nonsense"})})
    with pytest.raises(SettingsError, match="declared step sharpen: not a JSON Schema"):
        read_steps("sharpen", program=True)
    assert "sharpen" not in read_steps("all", program=True)


def test_a_remote_reference_in_a_schema_is_never_fetched() -> None:
    schema = {"properties": {"amount": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    declare_steps({"sharpen": DeclaredStep(params=schema)})
    with pytest.raises(PlanError, match="reference that cannot be resolved"):
        read_operation(["sharpen", 1], "")


def test_a_custom_step_replaces_a_declared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("tests/plugins")
    custom_steps.cache_clear()
    try:
        declare_steps({"brighten": DeclaredStep(), "sharpen": DeclaredStep(params=SHARPEN)})
        assert "amount" in operations()["brighten"].model_fields
        assert declared_steps() == {"sharpen"}
    finally:
        custom_steps.cache_clear()


def test_declared_steps_are_set_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DECLARED_STEPS", '{"sharpen": {"params": {"type": "object"}}}')
    monkeypatch.setenv("PENSTOCK_PROGRAM", '["/usr/bin/sharpen", "-v"]')
    settings = load(WorkerSettings)
    assert settings.declared_steps == {"sharpen": DeclaredStep(params={"type": "object"})}
    assert settings.program == ("/usr/bin/sharpen", "-v")
    monkeypatch.setenv("PENSTOCK_PROGRAM", "/usr/bin/sharpen -v")
    with pytest.raises(SettingsError, match=r'field "program".*accepted is JSON'):
        load(WorkerSettings)
