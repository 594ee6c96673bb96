"""Plans: both forms of operations, and errors with pointer and reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.common.model.errors import PlanError
from penstock.common.model.jobs import JobDocument, parse_op
from penstock.common.model.operations import PIXELS_ALONE, Blur, Decode, Encode, Resize
from penstock.common.model.plan import Plan, make_job_plan, make_plan, plan_of, read_operation
from penstock.common.registry import StepError, all_operations, declare_steps, disable_steps
from penstock.common.settings import DeclaredStep, Limits

LIMITS = Limits()
DOCS = Path(__file__).resolve().parents[4] / "docs"
DOCUMENTED = [
    block
    for page in sorted(DOCS.glob("*.md"))
    for block in re.findall(r'^```json\n(\{"operations": .*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)
]


@pytest.fixture(autouse=True)
def no_declared_steps() -> Iterator[None]:
    yield
    declare_steps({})


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
        ({"width": 1}, "unknown_operation", '{"width": 1} has no "op"; accepted are decode, resize'),
        ([["split"]], "unknown_operation", "no operation"),
        ({"op": {"op": "split"}}, "unknown_operation", "no operation"),
        ("x" * 10_000, "unknown_operation", "no operation 'xxx"),
        (["resize"], "invalid_parameter", "resize needs a size, e.g. resize=1024x768"),
        (
            ["resize", "0x5"],
            "invalid_parameter",
            "resize width: '0' is not accepted; accepted is 1 or more",
        ),
        (["resize", "5x99999"], "invalid_parameter", "'99999' is not accepted; accepted is up to 32768"),
        (["resize", "5x5x5"], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", "9" * 5_000], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", "-5x5"], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", "5x5\n"], "invalid_parameter", "accepted is WIDTHxHEIGHT"),
        (["resize", 5], "invalid_parameter", "5 is not a size"),
        ({"op": "resize"}, "invalid_parameter", "resize needs a size"),
        ({"op": "resize", "width": 5, "height": 5, "depth": 5}, "invalid_parameter", "depth"),
        (["blur", "motion"], "invalid_parameter", "blur method: 'motion' is not accepted; accepted are gaussian, "),
        (["blur", True], "invalid_parameter", "blur needs a method, e.g. blur=gaussian; accepted are gaussian, "),
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
        (["blur", "gaussian,sigma=1000"], "blur sigma: '1000' is not accepted; accepted is up to 100"),
        (["adjust", {"bright": 1}], "adjust has no parameter 'bright'; accepted are brightness, contrast, gamma, "),
        (
            ["rotate", {"angle": 7, "background": "röt"}],
            "rotate background: 'röt' is not accepted; accepted is a colour ",
        ),
        (["blur", "gausian"], "pixelate and fill; did you mean gaussian?"),
        (["blur", {"method": "median", "apperture": 7}], "blur has no parameter 'apperture'; accepted are method, "),
        (["bluur", "median"], "adjust, blur, contact-sheet, encode and gather; did you mean blur?"),
        (
            ["crop", {"width": "wide"}],
            "accepted is a whole number, or a percentage, such as 25%",
        ),
    ],
)
def test_an_invalid_parameter_is_refused_with_what_is_accepted(operation: list[Any], said: str) -> None:
    assert said in refusal(operation).message


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ({"op": "encode", "max_bytes": 9}, "max_bytes"),
        ({"op": "encode", "max_bytes": None}, "max_bytes"),
        ({"op": "decode", "target": {"width": 3}}, "target"),
        (["decode", {"regions": []}], "regions"),
    ],
)
def test_what_penstock_fills_in_itself_is_nobody_elses_parameter(operation: Any, name: str) -> None:
    assert f"has no parameter '{name}'" in refusal(operation).message
    [model] = [model for model in all_operations().values() if name in model.internal]
    assert name not in json.dumps(model.model_json_schema())


@pytest.mark.parametrize(
    ("operations", "output", "pointer"),
    [
        ([["split", False], ["adjust", {}], "late"], None, "/operations/2"),
        ([["split", False], ["encode", "jpg"]], None, "/operations/1"),
        ([["split", False]], Encode(), "/output"),
        ([["split", False]], None, "/alpha"),
        ([["decode", {"alpha": "keep"}], ["split", False], "dull"], None, "/operations/2"),
        ([["decode", {"alpha": "keep"}], ["split", False]], None, "/operations/0"),
    ],
)
def test_a_pointer_leads_into_what_was_sent(operations: list[Any], output: Encode | None, pointer: str) -> None:
    """Whatever was left out of the plan before it: `decode`, operations that do nothing."""
    declare_steps({"late": DeclaredStep(), "dull": DeclaredStep()})
    keep = None if "decode" in str(operations) else Decode(alpha="keep")
    with pytest.raises(PlanError) as caught:
        make_plan(operations, output, LIMITS, keep)
    assert caught.value.pointer == pointer


def test_a_short_form_of_excessive_length_is_refused() -> None:
    assert "accepted are up to 10000" in refusal(["blur", "gaussian" + ",sigma=1" * 10_000]).message


def test_an_operation_nested_without_end_is_an_operation_with_a_bad_value() -> None:
    assert refusal(parse_op("resize=" + "[" * 100_000)).code == "invalid_parameter"


THUMB = {"name": "thumb", "operations": [["resize", "320x"]], "output": "webp"}
TILES = {"name": "tiles", "operations": [["split", True], ["blur", "median"]]}


def several(*outputs: Any, operations: Any = (), **fields: Any) -> Plan:
    document = {"operations": [*operations], "outputs": [*outputs], **fields}
    return make_job_plan(JobDocument.model_validate(document), LIMITS)


def test_a_plan_with_several_outputs_has_shared_operations_first() -> None:
    made = several(THUMB, TILES, {"name": "whole"}, operations=[["resize", "800x"]], output="png", quality=70)
    assert made.steps == ("resize", "resize", "encode", "split", "blur", "encode", "encode")
    assert [[*made.layout.path(image)] for image in range(4)] == [[0, 1, 2], [0, 3, 4, 5], [0, 6], [0, 1, 2]]
    assert [output.steps for output in made.outputs] == [
        ("resize", "resize", "encode"), ("resize", "split", "blur", "encode"), ("resize", "encode"),
    ]  # fmt: skip
    assert [output.encode.format for output in made.outputs] == ["webp", "png", "png"]
    assert {output.encode.quality for output in made.outputs} == {70}
    assert made.parts == 6
    assert made.result_names(None).name("tiles/x", 1, 4, "jpg") == "tiles/x-1.jpg"
    assert made.result_names(None).name("thumb/x", 0, 1, "webp") == "thumb/x.webp"


def test_a_plan_with_several_outputs_is_the_same_after_a_message() -> None:
    for made in several(THUMB, TILES), several(THUMB, operations=[["blur", "median"]], alpha="keep"):
        assert plan_of(json.loads(json.dumps(made.document()))) == made
        assert made.document()[0]["op"] == "outputs"
    assert plan("split").document()[0]["op"] == "decode", "plans with one output are as they were"


def test_no_operations_need_be_shared() -> None:
    made = make_job_plan(JobDocument.model_validate({"outputs": [THUMB, TILES]}), LIMITS)
    assert (made.layout.fork, made.layout.first(0), made.layout.first(1)) == (0, 0, 2)


def test_shared_pixels_have_16_bits_only_if_every_output_has() -> None:
    png = {"name": "png", "output": "png"}
    assert several(png, {"name": "tiff", "output": "tiff"}).decoding.params.depth == "keep"
    assert several(png, {"name": "jpg"}).decoding.params.depth == "8"


@pytest.mark.parametrize(
    ("outputs", "operations", "code", "pointer"),
    [
        ([THUMB, {"name": "Thumb"}], [], "equal_names", "/outputs/1/name"),
        ([{"name": "a", "operations": [["resize", "0x"]]}], [], "invalid_parameter", "/outputs/0/operations/0"),
        ([{"name": "a", "operations": [["decode"]]}], [], "decode_not_first", "/outputs/0/operations/0"),
        ([{"name": "a"}], [["encode", "png"]], "encode_not_last", "/operations/0"),
        ([{"name": "a", "operations": [["encode"], ["split"]]}], [], "encode_not_last", "/outputs/0/operations/0"),
        ([{"name": "a", "operations": [["encode", "jpg"]], "output": "png"}], [], "two_outputs",
         "/outputs/0/operations/0"),
        ([{"name": f"a{index}", "operations": [["split"]] * 3} for index in range(11)], [], "too_many_operations",
         "/outputs"),
        ([{"name": f"a{index}", "operations": [["tile", "32x32"]]} for index in range(5)], [], "too_many_parts",
         "/outputs/4"),
    ],
)  # fmt: skip
def test_outputs_that_cannot_be_made_are_refused(outputs: list[Any], operations: Any, code: str, pointer: str) -> None:
    with pytest.raises(PlanError) as caught:
        several(*outputs, operations=operations)
    assert (caught.value.code, caught.value.pointer) == (code, pointer), caught.value.message


@pytest.mark.parametrize("counts", [[3, 3], [0, 5], [5, 0], []])
def test_outputs_that_do_not_fit_their_operations_are_no_plan(counts: list[int]) -> None:
    document = several(THUMB, TILES).document()
    document[0]["outputs"] = [{"name": "a", "operations": count} for count in counts]
    with pytest.raises(PlanError):
        plan_of(document)


@pytest.mark.parametrize("text", DOCUMENTED)
def test_documented_jobs_are_accepted(text: str) -> None:
    assert make_job_plan(JobDocument.model_validate_json(text), LIMITS).operations


def test_jobs_are_documented() -> None:
    assert len(DOCUMENTED) >= 4


def test_a_group_with_one_result_has_no_number_beside_images_with_several() -> None:
    raw = [["split"], ["gather", "folder:contact-sheet"]]
    names = make_job_plan(JobDocument.model_validate({"operations": raw}), Limits()).result_names(None)
    assert names.name("north/x", 1, 4, "jpg") == "north/x-1.jpg"
    assert names.name("north/contact-sheet", 0, 1, "jpg") == "north/contact-sheet.jpg"
    assert names.own_name("north/index", "index.json") == "north/index/index.json"
    assert names.part_may_be_added


def test_a_plan_without_its_groups_is_that_of_its_images() -> None:
    gathered = make_plan([["resize", "10x"], ["gather", "folder:contact-sheet"]], None, Limits())
    assert gathered.steps == ("resize", "encode", "contact-sheet", "encode")
    assert plan_of(gathered.document()) == gathered
    assert gathered.without_groups == make_plan([["resize", "10x"]], None, Limits())


@pytest.mark.parametrize("step", ["blur", "contact-shet"])
def test_what_is_no_group_step_is_refused_with_those_that_are(step: str) -> None:
    with pytest.raises(PlanError, match=f"'{step}' is no step for groups; accepted is contact-sheet") as refused:
        make_plan([["resize", "10x"], ["gather", f"folder:{step}"]], None, Limits())
    assert refused.value.code == "no_group_step"
