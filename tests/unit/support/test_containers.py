"""Finding Docker: a machine without a daemon costs no test anything but its own skip."""

from __future__ import annotations

import gc
import socket
from pathlib import Path

import pytest
from containers import RABBITMQ, connect_to_docker


@pytest.mark.parametrize("host", ["unix:///nonexistent", "unix://{folder}/socket", "tcp://127.0.0.1:1", "unknown://"])
def test_without_a_docker_daemon_there_is_no_client_and_no_open_socket(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "socket"))
    monkeypatch.setenv("DOCKER_HOST", host.format(folder=tmp_path))
    assert connect_to_docker() is None
    assert RABBITMQ.find() is None
    gc.collect()  # an unclosed socket would fail this test: warnings are errors
