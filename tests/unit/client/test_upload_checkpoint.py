"""Upload checkpoint: what one command leaves for the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.client.local_files import find_photos
from penstock.client.upload_checkpoint import UploadCheckpoint, job_key


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
