"""Submission: job documents made of options."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from penstock.cli.job_options import JobOptions
from penstock.cli.submit import read_submission


def test_options_take_precedence_over_defaults() -> None:
    options = JobOptions(ops=("resize=8x8", "split"), output="png")
    submission = read_submission(
        options, ["s3://b/x.jpg", "gs://b/delft/"], ["a=b", "c=d=e"], {"name": None, "priority": 0}
    )
    assert submission.files == []
    assert submission.document == {
        "operations": [["resize", "8x8"], ["split"]],
        "output": "png",
        "priority": 0,
        "labels": {"a": "b", "c": "d=e"},
        "inputs": ["s3://b/x.jpg", {"prefix": "gs://b/delft/"}],
    }


def test_options_take_precedence_over_a_complete_job_document(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"operations": [["split", true]], "inputs": ["a"], "labels": {"x": "1"}, "output": "jpg"}')
    document = read_submission(JobOptions(job_file=path, output="png"), [], ["y=2"], {}).document
    assert document["labels"] == {"x": "1", "y": "2"}
    assert (document["output"], document["inputs"]) == ("png", ["a"])


@pytest.mark.parametrize(("content", "message"), [("[]", "not a job document"), ("{", "not JSON"), ("{}", "no operat")])
def test_a_file_that_is_no_job_document_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(content)
    with pytest.raises(click.UsageError, match=message):
        read_submission(JobOptions(job_file=path), ["s3://b/x.jpg"], [], {})
