"""Servers written in Go: built once into a cache, started on a free port of loopback, and stopped at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECS = 60
BUILD_SECS = 1_200
GO = Path("/usr/local/go/bin/go")


def find_program(name: str, module: str) -> Path | None:
    """Return a program, built from a Go module if necessary; None if that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock-tests" / "bin"
    version = module.partition("@")[2]
    program = cache / f"{name}-{version}"
    go = shutil.which("go") or (str(GO) if GO.exists() else None)
    if program.exists():
        return program
    if go is None:
        return None if (found := shutil.which(name)) is None else Path(found)
    return _build(go, name, module, program)


def _build(go: str, name: str, module: str, program: Path) -> Path | None:
    """Build in a temporary folder and rename, so that concurrent test runs never see half a program."""
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        command = ["nice", go, "install", module]
        environment = os.environ | {"GOBIN": folder, "GOFLAGS": "-p=2"}
        built = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECS)
        if built.returncode != 0:
            return None  # usually because modules cannot be downloaded
        os.replace(Path(folder) / name, program)
    return program


@contextmanager
def running_server(command: Sequence[str], port: int, folder: Path, **environment: str) -> Iterator[None]:
    """Run a server that listens on `port` of loopback; its output goes into `folder`."""
    # It ends with the tests, however they end.
    prefix = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with open(folder / "output", "wb") as output:
        server = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | environment,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + START_SECS
        while not _is_listening(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {(folder / 'output').read_text()}")
            time.sleep(0.02)
        yield
    finally:
        server.kill()
        server.wait(START_SECS)


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=START_SECS):
        return True
    return False
