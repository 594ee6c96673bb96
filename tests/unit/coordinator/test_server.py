"""HTTP server: a port in use stops a second coordinator, with the reason and a way out."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import StartupError
from penstock.coordinator.server import bind_port


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
