"""Interruptions of commands and servers: a repeated command resumes, and uploads each file once."""

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
from typing import Any

import pytest
from http_proxy import DISCONNECT, HttpProxy, http_proxy
from waiting import wait_until

from penstock.cli.transfers import UploadCheckpoint
from penstock.client import Client, UnavailableError, UploadedFile
from penstock.client.local_files import find_photos

PortOf = Callable[[str], int]
StartSubmit = Callable[..., subprocess.Popen[str]]
SUBMIT = ("--op", "blur=median", "--wait", "--json")


@pytest.fixture
def start_submit(environment: dict[str, str], image_folder: Path, tmp_path: Path) -> StartSubmit:
    """Start `penstock submit` of the images to a server's port."""

    def start(port: int, *more: object) -> subprocess.Popen[str]:
        given = {"PENSTOCK_SERVER": f"http://127.0.0.1:{port}", "PENSTOCK_STATE": str(tmp_path / "state")}
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", "submit", str(image_folder), *SUBMIT, *map(str, more)],
            env={**environment, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


class Gate:
    """Lets a number of uploads (or of other requests with a method and path) pass a proxy, and blocks the next ones."""

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
def test_an_interrupted_command_is_resumed_by_the_same_command(
    server: str,
    client: Client,
    port_of: PortOf,
    start_submit: StartSubmit,
    tmp_path: Path,
    uploaded_files: Callable[[], list[str]],
    proxy: HttpProxy,
    number: signal.Signals,
) -> None:
    gate = Gate(2)
    with http_proxy(port_of(server), gate) as gated:
        first = start_submit(gated.server_port)
        checkpoints = tmp_path / "state" / "uploads"
        wait_until(lambda: list(checkpoints.glob("*.json")))
        [state] = checkpoints.glob("*.json")
        upload = json.loads(state.read_bytes())["upload"]
        wait_until(lambda: len(list(client.uploaded(upload))) == 2)
        first.send_signal(number)
        _, errors = first.communicate(timeout=180)
        gate.opened.set()
    assert first.returncode == (-number if number == signal.SIGKILL else 130)
    assert ("run the same command again" in errors) == (number == signal.SIGINT)
    state.rename(state.with_name(checkpoint_name(proxy.server_port, tmp_path)))
    output, errors = start_submit(proxy.server_port).communicate(timeout=90)
    assert '"done": 6' in output, errors
    assert len(uploaded_files()) == 4
    assert "POST /v1/uploads" not in proxy.requests
    assert not list(checkpoints.glob("*.json"))


def test_a_command_that_was_interrupted_in_its_download_creates_no_second_job(
    server: str, client: Client, port_of: PortOf, start_submit: StartSubmit, tmp_path: Path, proxy: HttpProxy
) -> None:
    out, gate = tmp_path / "out", Gate(2, "GET", "/static/")
    with http_proxy(port_of(server), gate) as gated:
        first = start_submit(gated.server_port, "--out", out)
        wait_until(lambda: len(list(out.glob("**/*.jpg"))) == 2)
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=180)
        gate.opened.set()
    assert (first.returncode, "run the same command again" in errors) == (130, True)
    assert not list(out.glob("**/*.part"))
    [state] = (tmp_path / "state" / "uploads").glob("*.json")
    state.rename(state.with_name(checkpoint_name(proxy.server_port, tmp_path)))
    output, errors = start_submit(proxy.server_port, "--out", out).communicate(timeout=90)
    saved = json.loads(output)["saved"]
    assert (saved["results"], saved["present"]) == (6, 2), errors
    assert [request for request in proxy.requests if request == "POST /v1/uploads" or request.startswith("PUT")] == []


def test_an_interrupted_command_without_files_says_how_to_follow_its_job(
    client: Client, environment: dict[str, str], proxy: HttpProxy, image_folder: Path, tmp_path: Path
) -> None:
    upload = client.begin_upload().id
    client.send_files(upload, find_photos([image_folder]))
    document = tmp_path / "job.json"
    document.write_text(json.dumps({"operations": [["blur", "bilateral"]] * 30, "inputs": [{"upload": upload}]}))
    command = [sys.executable, "-m", "penstock", "submit", "--job", str(document), "--wait"]
    variables = {**environment, "PENSTOCK_SERVER": f"http://127.0.0.1:{proxy.server_port}"}
    waiting = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: [request for request in proxy.requests if request.startswith("GET /v1/jobs/")])
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=180)
    [job] = client.jobs(limit=1)
    client.cancel(job.id)
    assert waiting.returncode == 130
    assert errors.strip() == f"interrupted; job {job.id} continues: see penstock status, then penstock results"


def checkpoint_name(port: int, folder: Path) -> str:
    """Return the name of the checkpoint of an upload to a port; each proxy has another port."""
    checkpoint = UploadCheckpoint(folder, f"http://127.0.0.1:{port}", find_photos([folder / "images"]))
    return checkpoint._path.name


def test_a_client_waits_for_a_server_that_was_killed_and_nothing_is_lost(
    start_server: Callable[..., Any], port_of: PortOf, image_folder: Path
) -> None:
    first = start_server("--workers", "1")
    with (
        http_proxy(port_of(first.client.url)) as proxy,
        Client(f"http://127.0.0.1:{proxy.server_port}", patience_secs=60) as client,
    ):
        upload = client.begin_upload().id
        files = find_photos([image_folder])
        for file in files[:3]:
            client.send_file(upload, file)
        first.kill()
        proxy.refuse(DISCONNECT)
        second = start_server("--workers", "1")
        proxy.target = port_of(second.client.url)
        proxy.refuse(DISCONNECT, times=2)
        assert sorted(file.name for file in client.uploaded(upload)) == [file.name for file in files[:3]]
        client.send_files(upload, files)
        document = {"operations": [["blur", "median"]], "inputs": [{"upload": upload}]}
        job = client.submit(document, idempotency_key="once")
        assert client.wait(job.id).images.done == 6
        assert client.submit(document, idempotency_key="once").id == job.id


def test_a_server_killed_during_an_upload_keeps_the_files_it_confirmed(
    start_server: Callable[..., Any], port_of: PortOf, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(200_000))
    server = start_server("--workers", "1")
    confirmed: list[str] = []

    def note(file: UploadedFile) -> None:
        confirmed.append(file.name)
        if len(confirmed) == 20:
            server.kill()

    with Client(server.client.url, patience_secs=0.5) as client:
        upload = client.begin_upload().id
        with pytest.raises(UnavailableError):
            client.send_files(upload, find_photos([folder]), note)
    again = start_server("--workers", "1")
    with Client(again.client.url) as client:
        there = {file.name for file in client.uploaded(upload)}
        assert 20 <= len(confirmed) < 60
        assert set(confirmed) <= there
        client.send_files(upload, find_photos([folder]))
        assert Counter(file.name for file in client.uploaded(upload)) == Counter(f"{n:02}.png" for n in range(60))


def test_the_same_command_after_it_has_finished_creates_another_job(
    start_submit: StartSubmit, proxy: HttpProxy, uploaded_files: Callable[[], list[str]]
) -> None:
    jobs = [start_submit(proxy.server_port).communicate(timeout=90)[0] for _ in range(2)]
    assert len(uploaded_files()) == 12
    assert len({job.partition('"id": ')[2][:30] for job in jobs}) == 2


def test_a_command_works_without_a_folder_for_checkpoints(
    start_submit: StartSubmit, proxy: HttpProxy, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file")
    done = start_submit(proxy.server_port)
    output, errors = done.communicate(timeout=90)
    assert (done.returncode, '"succeeded"' in output) == (0, True), errors
