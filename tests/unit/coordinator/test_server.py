"""Startup locks: a port or data folder in use stops a second coordinator, with the reason and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.model.errors import StartupError
from penstock.coordinator.server import bind_port, lock_data_folder


def test_a_port_in_use_is_refused() -> None:
    with bind_port("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with (
            pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}: .*--port") as caught,
            bind_port("127.0.0.1", port),
        ):
            pass
    assert caught.value.code == "port_in_use"
    with bind_port("127.0.0.1", port):
        pass  # free again


def test_a_data_folder_in_use_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    with lock_data_folder(data):
        with pytest.raises(StartupError, match="in use by another Penstock") as caught, lock_data_folder(data):
            pass
        assert caught.value.code == "data_in_use"
    with lock_data_folder(data):
        pass  # free again


def test_a_data_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StartupError, match=r"cannot use .*choose another --data") as caught,
        lock_data_folder(tmp_path / "file" / "data"),
    ):
        pass
    assert caught.value.code == "data_unusable"
