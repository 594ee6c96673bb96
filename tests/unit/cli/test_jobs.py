"""The command line's part: documents made of options, and what is remembered between two commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from penstock.cli.submit import read_order
from penstock.client import AsyncClient, Client
from penstock.client.access import Access
from penstock.client.errors import LocalFileError
from penstock.client.local_files import find_photos
from penstock.client.upload_checkpoint import UploadCheckpoint, job_key
from penstock.common.settings import SettingsError


def test_options_go_before_the_document():
    fields = {"output": "png", "name": None, "priority": 0}
    order = read_order(["s3://b/x.jpg", "gs://b/delft/"], ["resize=8x8", "split"], None, ["a=b", "c=d=e"], fields)
    assert order.photos == []
    assert order.document == {
        "operations": [["resize", "8x8"], ["split"]],
        "output": "png",
        "priority": 0,
        "labels": {"a": "b", "c": "d=e"},
        "inputs": ["s3://b/x.jpg", {"prefix": "gs://b/delft/"}],
    }


def test_a_document_may_bring_everything(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"operations": [["split", true]], "inputs": ["a"], "labels": {"x": "1"}, "output": "jpg"}')
    order = read_order([], [], str(path), ["y=2"], {"output": "png"})
    assert order.document["labels"] == {"x": "1", "y": "2"}
    assert (order.document["output"], order.document["inputs"]) == ("png", ["a"])
    path.write_text("[]")
    with pytest.raises(click.UsageError, match="not a job document"):
        read_order([], [], str(path), [], {})


def test_the_same_files_of_the_same_server_are_remembered_until_they_change(tmp_path):
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"one")

    def memory(server: str = "http://a") -> UploadCheckpoint:
        return UploadCheckpoint(tmp_path / "state", server, find_photos([picture]))

    assert memory().recall() is None
    memory().note("upload-1")
    assert memory().recall() == "upload-1"
    assert memory("http://b").recall() is None
    picture.write_bytes(b"other")
    assert memory().recall() is None
    memory().note("upload-2")
    memory().forget()
    memory().forget()
    assert memory().recall() is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"upload": 3}'])
def test_what_is_remembered_badly_is_forgotten(tmp_path, text):
    memory = UploadCheckpoint(tmp_path, "http://a", [])
    memory.note("u")
    [path] = (tmp_path / "uploads").iterdir()
    path.write_text(text)
    assert memory.recall() is None


def test_a_jobs_key_is_its_upload_and_document():
    assert job_key("u", {"a": 1, "b": 2}) == job_key("u", {"b": 2, "a": 1})
    assert len({job_key("u", {"a": 1}), job_key("v", {"a": 1}), job_key("u", {"a": 2})}) == 3


def test_a_server_is_a_url_and_its_certificates_a_file(tmp_path: Path):
    for url in (
        "ftp://x",
        "localhost:8080",
        "http://",
        "http://a:b",
        "http://a:0",
        "http://a:65536",
        "http://[::1",
        "http://a\nb",
        "http://-é-",
        "http://a?b",
    ):
        with pytest.raises(SettingsError, match="is no server"):
            Access.of(url)
    with pytest.raises(SettingsError, match="has a user") as caught:
        Access.of("http://me:secret@host")
    assert "secret" not in caught.value.message
    assert Access.of("http://host:1/below/").server == "http://host:1/below"
    with pytest.raises(LocalFileError, match="holds no certificates"):
        Access.of("https://host", verify=tmp_path / "none.pem").options()
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(LocalFileError, match="holds no certificates"):
        Access.of("https://host", verify=tmp_path / "text.pem").options()
    assert Access.of("https://host", verify=False).options()["verify"] is False


def test_proxies_are_for_other_hosts_and_told_where_they_are_of_no_use(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy:1")
    for kind in (Client, AsyncClient):
        with pytest.raises(SettingsError, match="a proxy that the environment names is of no use: Unknown scheme"):
            kind("http://host")
        for here in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"):
            kind(here)


def test_a_key_is_taken_without_what_its_file_ends_in_and_never_shown_when_refused():
    assert Access.of("http://host", " pk_1\n").options()["headers"]["Authorization"] == "Bearer pk_1"
    assert "Authorization" not in Access.of("http://host", "\n").options()["headers"]
    for key in ("pk\r\nX: y", "pk_é"):
        with pytest.raises(SettingsError, match="printable ASCII") as caught:
            Access.of("http://host", key)
        assert "pk" not in caught.value.message


@pytest.mark.parametrize(
    "arguments",
    [["submit", "s3://b/a.jpg", "--op", "split"], ["jobs"], ["status", "x"], ["results", "x", "--out", "o"], ["steps"]],
    ids=lambda arguments: arguments[0],
)
def test_without_httpx_a_command_says_what_to_install(arguments):
    program = "import sys; sys.modules['httpx'] = None; from penstock.cli.main import main; main()"
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr == "penstock: httpx is not installed; pip install 'penstock[client]' brings it\n"


def test_shells_complete_commands_and_options(penstock_completes):
    assert "submit" in penstock_completes("penstock su")
    assert {"--state", "--label"} <= set(penstock_completes("penstock jobs --"))
    assert penstock_completes("penstock jobs --state par") == ["partial"]


@pytest.fixture
def penstock_completes(monkeypatch: pytest.MonkeyPatch):
    """Return what a shell is told to offer after a line."""

    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_PENSTOCK_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        command = [sys.executable, "-m", "penstock"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return [offered.partition(",")[2] for offered in ended.stdout.split()]

    return complete
