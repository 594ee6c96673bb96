"""Job options: the plan that they describe."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from penstock.cli.job_options import JobOptions
from penstock.common.model.errors import PlanError
from penstock.common.model.operations import Encode
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
        ("{}", (), "job.json: operations: "),
        ('{"operations": []}', ("split",), "--op and --job both name operations"),
    ],
)
def test_an_invalid_job_document_is_refused_with_its_field(
    tmp_path: Path, content: str, ops: tuple[str, ...], message: str
) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(click.UsageError, match=message):
        JobOptions(ops=ops, job_file=tmp_path / "job.json").plan(Limits())


def test_an_unknown_operation_is_refused_with_its_place() -> None:
    with pytest.raises(PlanError) as refused:
        JobOptions(ops=("split", "sharpen")).plan(Limits())
    assert refused.value.pointer == "/operations/1"
