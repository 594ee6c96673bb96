"""API process: the REST API in a process of its own, whose memory and open files a test can bound and measure."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from api_server import bound_port, make_server, make_services

from penstock.coordinator.api.app import create_app
from penstock.coordinator.connections.limits import limit_connections


@dataclass
class ApiProcess:
    """A running REST API: its pid, its port and a client."""

    pid: int
    port: int
    http: httpx.Client

    def peak_bytes(self) -> int:
        """Return the peak memory of the process."""
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match[1]) * 1024


@contextmanager
def running_api(folder: Path, wrapper: Sequence[str] = ()) -> Iterator[ApiProcess]:
    """Serve a REST API; `wrapper` is a command that runs the one given to it."""
    serve = f"runpy.run_path({__file__!r})['serve_forever']({str(folder)!r})"
    code = f"import runpy, sys; sys.path[:0] = {sys.path!r}; {serve}"
    with subprocess.Popen([*wrapper, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield ApiProcess(server.pid, port, client)
        server.terminate()


def serve_forever(folder: str) -> None:
    """Serve a REST API in this process; print its port."""
    limits = limit_connections(None)
    server = make_server(create_app(make_services(Path(folder))), **vars(limits))

    def print_port() -> None:
        sys.stdout.write(f"{bound_port(server)}\n")
        sys.stdout.flush()

    threading.Thread(target=print_port, daemon=True).start()
    server.run()
