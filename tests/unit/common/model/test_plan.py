"""Plans: both forms of operations, and errors with pointer and reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.common.model.errors import PlanError
from penstock.common.model.jobs import parse_op
from penstock.common.model.operations import PIXELS_ALONE, Blur, Encode, Resize
from penstock.common.model.plan import make_plan, plan_of, read_operation
from penstock.common.registry import StepError, disable_steps
from penstock.common.settings import Limits

LIMITS = Limits()


def plan(*operations: Any, output: Encode | None = None, **limits: Any) -> Any:
    return make_plan(list(operations), output, Limits(**limits))


def refusal(*operations: Any, output: Encode | None = None, **limits: Any) -> PlanError:
    with pytest.raises(PlanError) as caught:
        plan(*operations, output=output, **limits)
    assert caught.value.status == 422
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "raw",
    [
        ["resize", "200x300"],
        ["resize", "200X300"],
        ["resize", {"width": 200, "height": 300}],
        {"op": "resize", "width": 200, "height": 300},
    ],
)
def test_both_forms_of_an_operation_are_equivalent(raw: Any) -> None:
    planned = read_operation(raw, "/0")
    assert (planned.step, planned.params) == ("resize", Resize(width=200, height=300))
    assert planned.document() == {"op": "resize", "width": 200, "height": 300}


@pytest.mark.parametrize("raw", ["split", ["split"], ["split", True], ["split", {}], {"op": "split"}])
def test_an_operation_without_parameters_needs_none(raw: Any) -> None:
    assert plan(raw).steps == ("split", "encode")


def test_a_plan_keeps_the_order_and_ends_with_encode() -> None:
    made = plan(["blur", "median"], "split", ["blur", "gaussian"], output=Encode(format="png"))
    assert made.steps == ("blur", "split", "blur", "encode")
    assert made.operations[2].params == Blur(method="gaussian")
    assert (made.encode, made.parts) == (Encode(format="png"), 4)


def test_an_empty_plan_only_encodes() -> None:
    assert plan().canonical() == [{"op": "encode", "format": "jpg", "quality": 95, "effort": 2}]


def test_a_stored_plan_without_decode_reads_images_as_version_0_1_0_did() -> None:
    operations = [{"op": "blur", "method": "median"}, {"op": "encode", "format": "jpg", "quality": 95, "effort": 2}]
    stored = plan_of(operations)
    assert (stored.decode, stored.document()) == (PIXELS_ALONE, operations)
    today = plan(["blur", "median"])
    assert (today.document(), today.canonical()) == ([{"op": "decode"}, *operations], operations)
    assert plan_of(today.document()) == today


def test_operations_that_do_nothing_are_left_out() -> None:
    assert plan(["split", False], ["blur", "median"], {"op": "split", "enabled": False}).steps == ("blur", "encode")


def test_encode_may_be_last_if_it_agrees_with_the_output() -> None:
    assert plan("split", ["encode", "png"]).encode.format == "png"
    assert plan(["encode", "png"], output=Encode(format="png")).steps == ("encode",)
    assert refusal(["encode", "png"], output=Encode()).code == "two_outputs"
    misplaced = refusal("split", "encode", "split")
    assert (misplaced.code, misplaced.pointer) == ("encode_not_last", "/operations/1")


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        ("sharpen", "unknown_operation", "no operation 'sharpen'; accepted are decode, resize, "),
        ([], "invalid_operation", "[] is not an operation"),
        (["split", True, 1], "invalid_operation", "is not an operation"),
        (7, "invalid_operation", "7 is not an operation"),
        (None, "invalid_operation", "null is not an operation"),
        ({"width": 1}, "unknown_operation", "no operation 'None'"),
        ([["split"]], "unknown_operation", "no operation"),
        ({"op": {"op": "split"}}, "unknown_operation", "no operation"),
        ("x" * 10_000, "unknown_operation", "no operation 'xxx"),
        (["resize"], "invalid_parameter", "True is not a size"),
        (
            ["resize", "0x5"],
            "invalid_parameter",
            'width: Input should be greater than or equal to 1, but "0" was given',
        ),
        (["resize", "5x99999"], "invalid_parameter", "less than or equal to 32768"),
        (["resize", "5x5x5"], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", "9" * 5_000], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", "-5x5"], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", "5x5\n"], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", 5], "invalid_parameter", "5 is not a size"),
        ({"op": "resize"}, "invalid_parameter", "give width and height, or one of them"),
        ({"op": "resize", "width": 5, "height": 5, "depth": 5}, "invalid_parameter", "depth"),
        (["blur", "motion"], "invalid_parameter", "method"),
        (["blur", True], "invalid_parameter", "blur"),
        (["blur", ["gaussian"]], "invalid_parameter", "cannot be read; accepted is a text"),
        (["split", "perhaps"], "invalid_parameter", "enabled"),
        (["encode", "gif"], "invalid_parameter", "format"),
        ({"op": "encode", "quality": 101}, "invalid_parameter", "quality"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_an_invalid_operation_is_refused_with_pointer_and_reason(raw: Any, code: str, said: str) -> None:
    error = refusal("split", raw)
    assert (error.code, error.pointer) == (code, "/operations/1")
    assert said in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize("raw", [None, "split", {"op": "split"}, 1])
def test_operations_must_be_a_list(raw: Any) -> None:
    with pytest.raises(PlanError, match="is not a list of operations"):
        make_plan(raw, None, LIMITS)


def test_limits_that_need_no_image_are_checked() -> None:
    assert plan(*["split"] * 6).parts == 4_096
    assert refusal(*["split"] * 7).pointer == "/operations/6"
    assert len(plan(*[["blur", "median"]] * 32).steps) == 33
    assert refusal(*[["split", False]] * 33).code == "too_many_operations"
    assert plan(["resize", "1000x1000"], max_pixels=1_000_000)
    assert refusal(["resize", "1001x1000"], max_pixels=1_000_000).code == "too_many_pixels"
    assert refusal("split", ["resize", "600x600"], max_pixels=1_000_000).pointer == "/operations/1"
    assert refusal(["resize", "pad:1001x1000>"], max_pixels=1_000_000).code == "too_many_pixels"
    assert plan(["resize", "inside:1001x1000"], ["resize", "5000%"], max_pixels=1_000_000)


@pytest.fixture
def no_tile() -> Iterator[None]:
    disable_steps(["tile", "sharpen"])
    yield
    disable_steps([])


def test_a_disabled_step_is_refused_with_the_way_to_enable_it(no_tile: None) -> None:
    for step in ("tile", "sharpen"):
        error = refusal("split", [step, "3x2"])
        assert (error.code, error.pointer) == ("operation_disabled", "/operations/1")
        assert f"steps.{step}.enabled=true" in error.message
        assert "PENSTOCK_DISABLED_STEPS" in error.message
    assert plan(["tile", "1x1"], "split").steps == ("split", "encode")


def test_a_plan_from_before_a_step_was_disabled_can_be_read(no_tile: None) -> None:
    assert plan_of([{"op": "tile", "columns": 3, "rows": 2}, {"op": "encode"}]).parts == 6


def test_encode_cannot_be_disabled() -> None:
    with pytest.raises(StepError, match="every job ends with it"):
        disable_steps(["encode"])


def test_a_plan_survives_a_round_trip_through_its_document() -> None:
    made = plan(["resize", "20x30"], "split", ["blur", "bilateral"], output=Encode(quality=80))
    assert plan_of(made.document()) == made


def test_a_document_with_a_step_that_is_not_installed_is_a_plan_error() -> None:
    with pytest.raises(PlanError, match="no operation 'vanished'"):
        plan_of([{"op": "vanished"}, {"op": "encode"}])


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (["blur", "gaussian,sigma=1000"], 'blur sigma: Input should be less than or equal to 100, but "1000"'),
        (["adjust", {"bright": 1}], "adjust has no parameter 'bright'; accepted are brightness, contrast, gamma, "),
        (["rotate", {"angle": 7, "background": "röt"}], 'rotate background: accepted is #rrggbb, but "röt" was given'),
    ],
)
def test_an_invalid_parameter_is_refused_with_what_is_accepted(operation: list[Any], said: str) -> None:
    assert said in refusal(operation).message


def test_a_short_form_of_excessive_length_is_refused() -> None:
    assert "accepted are up to 10000" in refusal(["blur", "gaussian" + ",sigma=1" * 10_000]).message


def test_an_operation_nested_without_end_is_an_operation_with_a_bad_value() -> None:
    assert refusal(parse_op("resize=" + "[" * 100_000)).code == "invalid_parameter"
