"""Server process: runs `penstock serve` as a child process, waits until it is ready, and stops it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from penstock.common.model.errors import UnavailableError

START_TIMEOUT_SECS = 60.0
STOP_TIMEOUT_SECS = 20.0
POLL_SECS = 0.05


def find_free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens right now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_port_free(host: str, port: int) -> bool:
    """Return whether a server could listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@contextmanager
def serve(
    options: Sequence[str],
    *,
    port: int,
    host: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `penstock serve` with `options` while the context lasts; yield its URL and process once it is ready.

    Its output goes to the file `log`, or to this process's own output if that is None. Meanwhile SIGTERM raises
    SystemExit, so that the server is stopped as well.

    Raises:
        UnavailableError: it ended before it was ready, or was not ready in time.
    """
    command = [sys.executable, "-m", "penstock", "serve", "--host", host, "--port", str(port), *options]
    variables = {**os.environ, **(environment or {})}
    with _exit_on_sigterm(), open(log, "ab") if log else nullcontext() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables)  # noqa: S603 - our own command
        try:
            url = f"http://{host}:{port}"
            _wait_until_ready(process, url, log)
            yield url, process
        finally:
            stop(process)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a server; kill it if it has not ended within `STOP_TIMEOUT_SECS`."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path | None) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECS
    while not is_ready(url):
        if process.poll() is not None:
            raise UnavailableError("server", f"penstock serve ended with {process.returncode}{_last_line(log)}")
        if time.monotonic() > deadline:
            raise UnavailableError("server", f"penstock serve was not ready in {START_TIMEOUT_SECS:.0f} s")
        time.sleep(POLL_SECS)


def is_ready(url: str) -> bool:
    """Return whether the server at a URL accepts jobs."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=START_TIMEOUT_SECS)) as server:
        try:
            server.request("GET", "/readyz")
            return server.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def _last_line(log: Path | None) -> str:
    lines = log.read_text(errors="replace").split("\n") if log else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {last}" if last else ""
