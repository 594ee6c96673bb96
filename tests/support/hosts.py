"""Simulated hosts: coordinators and workers as separate processes that a test starts, stops and kills."""

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
from penstock.local.server_process import find_free_port, is_ready

EXIT_SECS = 20.0


@dataclass
class Process:
    """One coordinator or worker process. Its output goes to the file `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    @property
    def client(self) -> RestClient:
        """A new connection to a coordinator."""
        return RestClient(self.url)

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self.send_signal(signal.SIGKILL)
        self.process.wait(EXIT_SECS)

    def terminate(self) -> int:
        """Ask it to exit; return its exit status."""
        self.send_signal(signal.SIGTERM)
        return self.process.wait(EXIT_SECS)

    @property
    def is_running(self) -> bool:
        """Whether it has not exited."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")


@dataclass
class Hosts:
    """Processes over one broker, one store and one database (None: SQLite in `folder`).

    `program` replaces `-m penstock` on Python's command line.
    """

    folder: Path
    broker_url: str
    store_url: str
    database_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = ("-m", "penstock")
    started: list[Process] = field(default_factory=list)

    def coordinator(self, *, port: int | None = None, wait: bool = True, **variables: str) -> Process:
        """Start a coordinator, by default waiting until it is ready."""
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
        """Return whether a coordinator accepts jobs."""
        assert coordinator.is_running, coordinator.output
        return is_ready(coordinator.url)

    def stop(self) -> None:
        """Stop all processes, the last started first."""
        for process in reversed(self.started):
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + EXIT_SECS
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
