"""The memory of a coordinator's process does not grow with the size of uploads and downloads."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import bound_port, make_server, make_services

from penstock.coordinator.api.app import create_app

MiB = 1024 * 1024
FILE_BYTES = 32 * MiB

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def serve_forever(folder: str) -> None:
    """Serve a REST API in this process; print its port."""
    import threading

    server = make_server(create_app(make_services(Path(folder))))

    def print_port() -> None:
        sys.stdout.write(f"{bound_port(server)}\n")
        sys.stdout.flush()

    threading.Thread(target=print_port, daemon=True).start()
    server.run()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[int, httpx.Client]]:
    """A REST API in its own process: its pid and a client."""
    serve = f"runpy.run_path({__file__!r})['serve_forever']({str(tmp_path)!r})"
    code = f"import runpy, sys; sys.path[:0] = {sys.path!r}; {serve}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield server.pid, client
        server.terminate()


def peak_bytes(pid: int) -> int:
    """Return the peak memory of a process."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def upload(client: httpx.Client, files: int, file_bytes: int) -> dict[str, Any]:
    """Upload generated files."""

    def body() -> Iterator[bytes]:
        yield b'--B\r\nContent-Disposition: form-data; name="job"\r\n\r\n{"operations": [["split", true]]}\r\n'
        for index in range(files):
            yield b'--B\r\nContent-Disposition: form-data; name="files"; filename="%d.jpg"\r\n\r\n' % index
            yield b"\xff\xd8\xff"
            for _ in range(file_bytes // 65536):
                yield bytes(65536)
            yield b"\r\n"
        yield b"--B--\r\n"

    answer = client.post(
        "/v1/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=B", "Idempotency-Key": "k"}
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_an_upload_does_not_raise_the_memory_by_its_size(process: tuple[int, httpx.Client]) -> None:
    pid, client = process
    client.get("/v1/jobs")
    before = peak_bytes(pid)
    job = upload(client, files=8, file_bytes=FILE_BYTES)
    assert peak_bytes(pid) - before < 32 * MiB
    received = 0
    with client.stream("GET", f"/static/{job['id']}/sent/7.jpg") as answer:
        for piece in answer.iter_bytes():
            received += len(piece)
    assert received == FILE_BYTES + 3
    assert peak_bytes(pid) - before < 40 * MiB
