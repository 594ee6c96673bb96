"""Several hosts on one: coordinators and workers as processes of their own, killed and started as a test likes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from waiting import wait_until

from penstock.benchmark.http import RestClient
from penstock.local.server_process import find_free_port

LEAVE_SECS = 20.0


@dataclass
class Process:
    """One coordinator or worker. Its output goes to the file `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    @property
    def client(self) -> RestClient:
        """A connection of its own to a coordinator."""
        return RestClient(self.url)

    def send(self, number: int) -> None:
        """Send a signal, whether or not it still runs."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send(signal.SIGKILL)
        self.process.wait(LEAVE_SECS)

    def leave(self) -> int:
        """Ask it to leave; return its exit status."""
        self.send(signal.SIGTERM)
        return self.process.wait(LEAVE_SECS)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote."""
        return self.log.read_text(errors="replace")


@dataclass
class Hosts:
    """Starts processes over one broker, one store and one database (None: SQLite in `folder`); ends them all.

    `program` is what runs instead of `python -m penstock`.
    """

    folder: Path
    broker_url: str
    store_url: str
    database_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = ("-m", "penstock")
    started: list[Process] = field(default_factory=list)

    def coordinator(self, *, port: int | None = None, wait: bool = True, **variables: str) -> Process:
        """Start a coordinator, and wait until it is ready."""
        port = port or find_free_port()
        database = [] if self.database_url is None else ["--database", self.database_url]
        options = ["--port", str(port), "--data", str(self.folder / "data"), *database]
        process = self._start("coordinator", options, variables, f"http://127.0.0.1:{port}")
        if wait:
            wait_until(lambda: self.is_ready(process))
        return process

    def worker(self, steps: str = "all", *options: str, **variables: str) -> Process:
        """Start a worker."""
        return self._start("worker", ["--steps", steps, *options], variables)

    def is_ready(self, coordinator: Process) -> bool:
        """Tell whether a coordinator can accept jobs."""
        assert coordinator.runs, coordinator.output
        with coordinator.client as client:
            return client.is_ready()

    def stop(self) -> None:
        """End all processes, workers first."""
        for process in reversed(self.started):
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + LEAVE_SECS
        for process in self.started:
            try:
                process.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, kind: str, options: Sequence[str], variables: Mapping[str, str], url: str = "") -> Process:
        name = f"{kind}-{len(self.started)}"
        log = self.folder / f"{name}.log"
        command = [sys.executable, *self.program, kind, "--broker", self.broker_url, "--store", self.store_url]
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*command, *options],
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment, **variables},
            )
        self.started.append(Process(name, process, log, url))
        return self.started[-1]
