"""Server process: starting and failing to start; the benchmark's client without a server; the demo."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.benchmark.http import RestClient
from penstock.common.model.errors import UnavailableError
from penstock.local.demo import run_demo
from penstock.local.server_process import find_free_port, is_port_free, is_ready, serve


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_not_free(taken_port: int) -> None:
    assert not is_port_free("127.0.0.1", taken_port)
    assert is_port_free("127.0.0.1", find_free_port())


def test_a_server_that_ends_early_raises_with_its_last_log_line(tmp_path: Path) -> None:
    with (
        pytest.raises(UnavailableError, match=r"ended with 2.*nonsense"),
        serve(["--placement", "nonsense"], port=find_free_port(), log=tmp_path / "log"),
    ):
        pytest.fail("the server started")


def test_the_sigterm_handler_is_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(UnavailableError),
        serve(["--placement", "nonsense"], port=find_free_port(), log=tmp_path / "log"),
    ):
        pytest.fail("the server started")
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_unreachable_server_is_unavailable_and_not_ready() -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    assert not is_ready(url)
    with RestClient(url) as client, pytest.raises(UnavailableError, match=f"no answer from {url}"):
        client.job("any")


def test_the_demo_refuses_a_port_in_use_and_suggests_another(
    taken_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(taken_port, tmp_path / "data") == 3
    output = capsys.readouterr()
    assert f"port {taken_port} of 127.0.0.1 is in use; choose another: make run PORT=8081" in output.err
    assert not (tmp_path / "data").exists()


def test_the_demo_refuses_an_invalid_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(70_000, tmp_path) == 3
    assert "PENSTOCK_PORT=70000" in capsys.readouterr().err
