"""Clients and servers that die in the middle: each file is sent once, and run the same command again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from http_line import HANG_UP, http_line
from waiting import wait_until

from penstock.client import Client, UnavailableError
from penstock.client.local_files import find_photos
from penstock.client.upload_checkpoint import UploadCheckpoint

SUBMIT = ("--op", "blur=median", "--wait", "--json")


@pytest.fixture
def start_submit(environment: dict[str, str], pictures: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `penstock submit` of the pictures, to the port of a server."""

    def start(port: int, *more: object) -> subprocess.Popen[str]:
        given = {"PENSTOCK_SERVER": f"http://127.0.0.1:{port}", "PENSTOCK_STATE": str(tmp_path / "state")}
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", "submit", str(pictures), *SUBMIT, *map(str, more)],
            env={**environment, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


class Gate:
    """Lets so many files pass over a line (or of other requests of a method and path), and holds what comes after."""

    def __init__(self, count: int, method: str = "PUT", path: str = "/v1/uploads/") -> None:
        self._left = count
        self._held = method, path
        self._lock = threading.Lock()
        self.opened = threading.Event()

    def __call__(self, method: str, path: str) -> str:
        with self._lock:
            held = method == self._held[0] and path.startswith(self._held[1])
            self._left -= held
            if not held or self._left >= 0:
                return path
        self.opened.wait(90)
        return "/nowhere"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_command_goes_on_where_it_was(
    server, client, port_of, start_submit, tmp_path, uploads_of, line, number
):
    gate = Gate(2)
    with http_line(port_of(server), gate) as gated:
        first = start_submit(gated.server_port)
        remembered = tmp_path / "state" / "uploads"
        wait_until(lambda: list(remembered.glob("*.json")))
        [state] = remembered.glob("*.json")
        upload = json.loads(state.read_bytes())["upload"]
        wait_until(lambda: len(list(client.uploaded(upload))) == 2)
        first.send_signal(number)
        _, errors = first.communicate(timeout=30)
        gate.opened.set()
    assert first.returncode == (-number if number == signal.SIGKILL else 130)
    assert ("run the same command again" in errors) == (number == signal.SIGINT)
    state.rename(state.with_name(memory_name(line.server_port, tmp_path)))
    output, errors = start_submit(line.server_port).communicate(timeout=90)
    assert '"done": 6' in output, errors
    assert len(uploads_of()) == 4
    assert "POST /v1/uploads" not in line.requests
    assert not list(remembered.glob("*.json"))


def test_a_command_that_was_interrupted_while_it_fetched_makes_no_second_job(
    server, client, port_of, start_submit, tmp_path, line
):
    out, gate = tmp_path / "out", Gate(2, "GET", "/static/")
    with http_line(port_of(server), gate) as gated:
        first = start_submit(gated.server_port, "--out", out)
        wait_until(lambda: len(list(out.glob("**/*.jpg"))) == 2)
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=30)
        gate.opened.set()
    assert (first.returncode, "run the same command again" in errors) == (130, True)
    assert not list(out.glob("**/*.part"))
    [state] = (tmp_path / "state" / "uploads").glob("*.json")
    state.rename(state.with_name(memory_name(line.server_port, tmp_path)))
    output, errors = start_submit(line.server_port, "--out", out).communicate(timeout=90)
    saved = json.loads(output)["saved"]
    assert (saved["results"], saved["present"]) == (6, 2), errors
    assert [request for request in line.requests if request == "POST /v1/uploads" or request.startswith("PUT")] == []


def test_an_interrupted_command_for_pictures_elsewhere_says_how_its_job_is_followed(
    client, environment, line, pictures, tmp_path
):
    upload = client.begin_upload().id
    client.send_files(upload, find_photos([pictures]))
    document = tmp_path / "job.json"
    document.write_text(json.dumps({"operations": [["blur", "bilateral"]] * 30, "inputs": [{"upload": upload}]}))
    command = [sys.executable, "-m", "penstock", "submit", "--job", str(document), "--wait"]
    variables = {**environment, "PENSTOCK_SERVER": f"http://127.0.0.1:{line.server_port}"}
    waiting = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: [request for request in line.requests if request.startswith("GET /v1/jobs/")])
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=30)
    [job] = client.jobs(limit=1)
    client.cancel(job.id)
    assert waiting.returncode == 130
    assert errors.strip() == f"interrupted; job {job.id} continues: see penstock status, then penstock results"


def memory_name(port: int, folder: Path) -> str:
    """Return the name under which an upload to the port is remembered: the line's port is another one each time."""
    memory = UploadCheckpoint(folder, f"http://127.0.0.1:{port}", find_photos([folder / "pictures"]))
    return memory._path.name


def test_a_server_that_is_killed_in_the_middle_is_waited_for_and_loses_nothing(start_server, port_of, pictures):
    first = start_server("--workers", "1")
    with (
        http_line(port_of(first.client.url)) as line,
        Client(f"http://127.0.0.1:{line.server_port}", patience_secs=60) as client,
    ):
        upload = client.begin_upload().id
        photos = find_photos([pictures])
        for photo in photos[:3]:
            client.send_file(upload, photo)
        first.kill()
        line.refuse(HANG_UP)
        second = start_server("--workers", "1")
        line.target = port_of(second.client.url)
        line.refuse(HANG_UP, times=2)
        assert sorted(file.name for file in client.uploaded(upload)) == [photo.name for photo in photos[:3]]
        client.send_files(upload, photos)
        document = {"operations": [["blur", "median"]], "inputs": [{"upload": upload}]}
        job = client.submit(document, idempotency_key="once")
        assert client.wait(job.id).images.done == 6
        assert client.submit(document, idempotency_key="once").id == job.id


def test_a_server_that_dies_while_files_come_has_those_that_it_answered(start_server, port_of, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(200_000))
    server = start_server("--workers", "1")
    answered: list[str] = []

    def note(file: object) -> None:
        answered.append(file.name)
        if len(answered) == 20:
            server.kill()

    with Client(server.client.url, patience_secs=0.5) as client:
        upload = client.begin_upload().id
        with pytest.raises(UnavailableError):
            client.send_files(upload, find_photos([folder]), note)
    again = start_server("--workers", "1")
    with Client(again.client.url) as client:
        there = {file.name for file in client.uploaded(upload)}
        assert 20 <= len(answered) < 60
        assert set(answered) <= there
        client.send_files(upload, find_photos([folder]))
        assert Counter(file.name for file in client.uploaded(upload)) == Counter(f"{n:02}.png" for n in range(60))


def test_the_same_command_after_it_was_done_makes_another_job(start_submit, line, uploads_of):
    jobs = [start_submit(line.server_port).communicate(timeout=90)[0] for _ in range(2)]
    assert len(uploads_of()) == 12
    assert len({job.partition('"id": ')[2][:30] for job in jobs}) == 2


def test_without_a_place_to_remember_everything_works_once(start_submit, line, tmp_path):
    (tmp_path / "state").write_text("a file")
    done = start_submit(line.server_port)
    output, errors = done.communicate(timeout=90)
    assert (done.returncode, '"succeeded"' in output) == (0, True), errors
