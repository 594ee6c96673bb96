"""A server as a child process, and the client's manners towards one that is away."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.local.demo import run_demo
from penstock.local.rest_client import RestClient
from penstock.local.server_process import find_free_port, is_port_free, serve


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_something_listens_on_is_not_free(taken_port: int) -> None:
    assert not is_port_free("127.0.0.1", taken_port)
    assert is_port_free("127.0.0.1", find_free_port())


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(UnavailableError, match=r"ended with 2.*nonsense"),
        serve(["--placement", "nonsense"], port=find_free_port(), log=tmp_path / "log"),
    ):
        pytest.fail("it cannot have started")


def test_the_handler_of_sigterm_is_put_back_after_a_server(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(UnavailableError),
        serve(["--placement", "nonsense"], port=find_free_port(), log=tmp_path / "log"),
    ):
        pytest.fail("it cannot have started")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_that_is_away_is_unavailable_and_not_ready() -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    with RestClient(url) as client:
        assert not client.is_ready()
        with pytest.raises(UnavailableError, match=f"no answer from {url}"):
            client.job("any")


def test_the_demo_says_that_its_port_is_in_use_and_how_to_take_another(
    taken_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(taken_port, tmp_path / "data") == 3
    said = capsys.readouterr()
    assert f"port {taken_port} of 127.0.0.1 is in use; take another one with make run PORT=8081" in said.err
    assert not (tmp_path / "data").exists()


def test_the_demo_refuses_a_port_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(70_000, tmp_path) == 3
    assert "PENSTOCK_PORT=70000" in capsys.readouterr().err
