"""Transfers: job documents made of options, and what one command leaves for the next."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from penstock.cli.job_options import JobOptions
from penstock.cli.transfers import UploadCheckpoint, job_key, read_submission
from penstock.client.local_files import find_photos


def test_options_take_precedence_over_defaults() -> None:
    options = JobOptions(ops=("resize=8x8", "split"), output="png")
    submission = read_submission(
        options, ["s3://b/x.jpg", "gs://b/delft/"], ["a=b", "c=d=e"], {"name": None, "priority": 0, "max_price": 2.5}
    )
    assert submission.files == []
    assert submission.document == {
        "operations": [["resize", "8x8"], ["split"]],
        "output": "png",
        "priority": 0,
        "cost": {"max_price": 2.5},
        "labels": {"a": "b", "c": "d=e"},
        "inputs": ["s3://b/x.jpg", {"prefix": "gs://b/delft/"}],
    }


def test_options_take_precedence_over_a_complete_job_document(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text('{"operations": [["split", true]], "inputs": ["a"], "labels": {"x": "1"}, "output": "jpg"}')
    document = read_submission(JobOptions(job_file=path, output="png"), [], ["y=2"], {}).document
    assert document["labels"] == {"x": "1", "y": "2"}
    assert (document["output"], document["inputs"]) == ("png", ["a"])


def test_a_job_document_may_come_from_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"operations": [["split", true]], "inputs": ["a"]}')
    os.close(writing)
    with os.fdopen(reading):
        options = JobOptions(job_file=Path(f"/dev/fd/{reading}"))
        options.check_fields(["results"], "not used")
        assert read_submission(options, [], [], {}).document == options.document()


@pytest.mark.parametrize(("content", "message"), [("[]", "not a job document"), ("{", "not JSON"), ("{}", "no operat")])
def test_a_file_that_is_no_job_document_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(content)
    with pytest.raises(click.UsageError, match=message):
        read_submission(JobOptions(job_file=path), ["s3://b/x.jpg"], [], {})


def test_an_upload_is_found_again_until_its_files_or_the_server_change(tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"one")

    def checkpoint(server: str = "http://a") -> UploadCheckpoint:
        return UploadCheckpoint(tmp_path / "state", server, find_photos([image]))

    assert checkpoint().load() is None
    checkpoint().save("upload-1")
    assert checkpoint().load() == "upload-1"
    assert checkpoint("http://b").load() is None
    image.write_bytes(b"other")
    assert checkpoint().load() is None
    checkpoint().save("upload-2")
    checkpoint().remove()
    checkpoint().remove()
    assert checkpoint().load() is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"upload": 3}'])
def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path, text: str) -> None:
    checkpoint = UploadCheckpoint(tmp_path, "http://a", [])
    checkpoint.save("u")
    [path] = (tmp_path / "uploads").iterdir()
    path.write_text(text)
    assert checkpoint.load() is None


def test_a_job_key_depends_on_upload_and_document() -> None:
    assert job_key("u", {"a": 1, "b": 2}) == job_key("u", {"b": 2, "a": 1})
    assert len({job_key("u", {"a": 1}), job_key("v", {"a": 1}), job_key("u", {"a": 2})}) == 3
