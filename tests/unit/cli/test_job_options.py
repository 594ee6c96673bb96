"""Job options: the plan that they describe."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from penstock.cli.job_options import JobOptions, job_options
from penstock.common.model.errors import PlanError
from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, JobDocument
from penstock.common.model.operations import Decode, Encode
from penstock.common.settings import Limits


def test_a_plan_has_the_operations_in_order_and_ends_with_the_output() -> None:
    plan = JobOptions(ops=("split", "resize=10x20"), output="png", effort=1).plan(Limits())
    assert plan.steps == ("split", "resize", "encode")
    assert plan.operations[-1].params == Encode(format="png", effort=1)


def test_a_plan_without_operations_only_encodes() -> None:
    assert JobOptions(quality=80).plan(Limits()).steps == ("encode",)


def test_a_plan_of_a_job_document_takes_its_output_where_options_leave_it_open(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"operations": [["split", true]], "output": "png", "effort": 0}')
    assert JobOptions(job_file=path).plan(Limits()).operations[-1].params == Encode(format="png", effort=0)
    with_option = JobOptions(job_file=path, effort=3).plan(Limits())
    assert with_option.operations[-1].params == Encode(format="png", effort=3)


def test_operations_may_complete_a_job_document_without_any(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"output": "png"}')
    assert JobOptions(ops=("split",), job_file=path).plan(Limits()).steps == ("split", "encode")


@pytest.mark.parametrize(
    ("content", "ops", "message"),
    [
        ('{"operations": [], "quality": 101}', (), "job.json: quality: "),
        ('{"operations": [], "colour": "blue"}', (), "job.json: colour: "),
        ("{}", (), "no operations given; use --op, such as --op resize=1024x768, or --output png"),
        ('{"operations": []}', ("split",), "--op and --job both name operations"),
    ],
)
def test_an_invalid_job_document_is_refused_with_its_field(
    tmp_path: Path, content: str, ops: tuple[str, ...], message: str
) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(click.UsageError, match=message):
        JobOptions(ops=ops, job_file=tmp_path / "job.json").plan(Limits())


def test_a_pointer_is_shown_to_those_who_wrote_a_document(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as refused:
        JobOptions(ops=("split", "sharpen")).plan(Limits())
    assert refused.value.message.startswith("no operation 'sharpen'; accepted are decode, ")
    job = tmp_path / "job.json"
    job.write_text('{"operations": ["split", "sharpen"]}')
    with pytest.raises(PlanError) as refused:
        JobOptions(job_file=job).plan(Limits())
    assert refused.value.message.startswith(f"--job {job}: /operations/1: no operation 'sharpen'; ")


def test_options_say_how_images_are_read() -> None:
    options = JobOptions(metadata="geo", profile="srgb", alpha="drop", background="#102030", decode="scaled")
    expected = Decode(mode="scaled", metadata="geo", profile="srgb", alpha="drop", background="#102030")
    assert options.plan(Limits()).decode == expected


def test_options_for_reading_take_precedence_over_a_job_document(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"operations": [], "metadata": "none", "profile": "srgb"}')
    assert JobOptions(job_file=path, metadata="geo").plan(Limits()).decode == Decode(metadata="geo", profile="srgb")


@pytest.mark.parametrize("name", [*ENCODE_OPTIONS, *DECODE_OPTIONS])
def test_every_field_for_reading_and_writing_is_an_option_with_the_same_values(name: str) -> None:
    @click.command()
    @job_options
    def command(job: JobOptions) -> None:
        """Take the options."""

    (option,) = [each for each in command.params if each.name == name]
    schema = JobDocument.model_json_schema()["properties"][name]["anyOf"][0]
    if "enum" in schema:
        assert isinstance(option.type, click.Choice)
        assert [*option.type.choices] == schema["enum"]


def test_an_invalid_value_is_refused_with_its_option() -> None:
    with pytest.raises(click.UsageError, match="--background: "):
        JobOptions(background="white").plan(Limits())
