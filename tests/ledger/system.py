"""System under test: starts, restarts and stops the processes of one run.

Processes are forked from one that has imported everything, because a sweep starts hundreds of them.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import fault_injection
from fault_injection import INJECT, INJECTED, POINT_LOG, REDELIVERED, Injection
from rabbitmq_server import RabbitServer
from workload import PLUGINS

from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.model.operations import BUILT_IN

CUSTOM_STEPS = {"brighten", "trip", "pause", "twins", "scribble", "poses", "stack"}
STOP_SECS = 20.0
PORTS = (20_000, 32_000)
FAST_SETTINGS = {
    "PENSTOCK_REPAIR_SECS": "1",
    "PENSTOCK_STEP_WALL_SECS": "4",
    "PENSTOCK_SWEEP_SECS": "1",
    "PENSTOCK_ABANDONED_SECS": "2",
    "PENSTOCK_CANCEL_LOOKUP_SECS": "0.5",
    "PENSTOCK_BROKER_MAX_PAUSE_SECS": "0.5",
}

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["forkserver_preload"])


def all_queues() -> list[str]:
    """Return the names of all queues."""
    return [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in sorted({*BUILT_IN, *CUSTOM_STEPS}))]


@dataclass(frozen=True)
class Deployment:
    """What a run uses: shared servers, and a folder, database and store of its own."""

    folder: Path
    inputs: Path
    rabbitmq: RabbitServer
    store_url: str
    store_folder: Path
    database_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def broker_url(self) -> str:
        """The URL of RabbitMQ."""
        return self.rabbitmq.url


@dataclass
class SupervisedProcess:
    """A process that is restarted when it dies: its command line, and the process that runs now."""

    name: str
    arguments: Sequence[str]
    url: str = ""
    running: BaseProcess | None = None
    restarts: int = 0
    keep_running: bool = True


class System:
    """Coordinators, and a worker for each entry of `placement`, which lists its steps.

    The fault `injection` is injected into the process named `target`.
    """

    def __init__(
        self,
        deployment: Deployment,
        placement: Sequence[str],
        *,
        coordinators: int = 1,
        injection: Injection | None = None,
        target: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.deployment = deployment
        self._injection = injection
        self._target = target
        self._settings = {**FAST_SETTINGS, "PENSTOCK_INPUT_ROOT": str(deployment.inputs), **(settings or {})}
        self.coordinators = [self._coordinator(index) for index in range(coordinators)]
        self.workers = [
            SupervisedProcess(f"worker-{index}", ["worker", "--steps", steps]) for index, steps in enumerate(placement)
        ]

    def _coordinator(self, index: int) -> SupervisedProcess:
        port = find_port()
        data = str(self.deployment.folder / "data")
        database = [] if self.deployment.database_url is None else ["--database", self.deployment.database_url]
        options = ["--port", str(port), "--data", data, *database]
        return SupervisedProcess(f"coordinator-{index}", ["coordinator", *options], f"http://127.0.0.1:{port}")

    @property
    def processes(self) -> list[SupervisedProcess]:
        """All processes."""
        return [*self.coordinators, *self.workers]

    @property
    def restarts(self) -> int:
        """How often processes were restarted."""
        return sum(process.restarts for process in self.processes)

    def start(self) -> None:
        """Start all processes; the target with its fault."""
        self.deployment.folder.mkdir(parents=True, exist_ok=True)
        for process in self.processes:
            self.start_process(process, self._injection if process.name == self._target else None)

    def start_process(self, process: SupervisedProcess, injection: Injection | None = None) -> None:
        """Start a process."""
        deployment = self.deployment
        arguments = [*process.arguments, "--broker", deployment.broker_url, "--store", deployment.store_url]
        environment = {**self._settings, **deployment.environment, POINT_LOG: str(self._point_log(process.name))}
        if injection is not None:
            environment[INJECT] = injection.write()
        log = deployment.folder / f"{process.name}.log"
        process.running = _FORKSERVER.Process(
            target=_run_process, args=(arguments, environment, log), name=process.name, daemon=True
        )
        process.running.start()

    def restart_dead(self) -> None:
        """Restart processes that have died."""
        for process in self.processes:
            if process.keep_running and process.running is not None and not process.running.is_alive():
                process.restarts += 1
                self.start_process(process)

    def kill(self, process: SupervisedProcess) -> None:
        """Kill a process with SIGKILL."""
        self.signal(process, signal.SIGKILL)
        if process.running is not None:
            process.running.join(STOP_SECS)

    def signal(self, process: SupervisedProcess, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if process.running is not None and process.running.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.running.pid, number)

    def stop(self, processes: Sequence[SupervisedProcess]) -> list[str]:
        """Stop processes with SIGTERM; return the names of those that had to be killed."""
        for process in processes:
            process.keep_running = False
            self.signal(process, signal.SIGTERM)
        late = []
        for process in processes:
            if process.running is not None:
                process.running.join(STOP_SECS)
                if process.running.is_alive():
                    late.append(process.name)
                    self.kill(process)
        return late

    def start_again(self, processes: Sequence[SupervisedProcess]) -> None:
        """Start processes that were stopped."""
        for process in processes:
            process.keep_running = True
            self.start_process(process)

    def kill_all(self) -> None:
        """Kill all processes."""
        for process in self.processes:
            process.keep_running = False
            self.signal(process, signal.SIGKILL)
        for process in self.processes:
            if process.running is not None:
                process.running.join(STOP_SECS)

    def reached_points(self) -> dict[str, list[str]]:
        """Return the points that each process has reached, in order."""
        logs = {process.name: self._point_log(process.name) for process in self.processes}
        return {name: path.read_text().splitlines() if path.exists() else [] for name, path in logs.items()}

    @property
    def redelivered(self) -> int:
        """How many messages were redelivered."""
        return sum(lines.count(REDELIVERED) for lines in self.reached_points().values())

    @property
    def was_injected(self) -> bool:
        """Whether the fault was injected."""
        return any(INJECTED in lines for lines in self.reached_points().values())

    def output(self) -> str:
        """Return the ends of the processes' logs, to explain a finding."""
        logs = sorted(self.deployment.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)

    def _point_log(self, name: str) -> Path:
        return self.deployment.folder / f"{name}.points"


def _run_process(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """Run one process of Penstock, with points. Called in the forked process."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.update(environment)
    sys.path.insert(0, str(PLUGINS))
    fault_injection.run(arguments)


def find_port() -> int:
    """Return a free port outside the range of ephemeral ports.

    A coordinator that is restarted needs its old port, which no connection may take meanwhile.
    """
    while True:
        port = random.randrange(*PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def stored_keys(folder: Path) -> list[str]:
    """Return the keys of all objects in a folder that is a store, or a bucket of the S3 server."""
    own = {".tmp", ".sgwtmp"}
    keys = []
    for path, folders, files in os.walk(folder):  # ignores what is deleted meanwhile
        folders[:] = [name for name in folders if name not in own]
        keys += [os.path.relpath(os.path.join(path, name), folder) for name in files]
    return keys


def wait_for(condition: Callable[[], object], secs: float) -> bool:
    """Wait for a condition; return whether it became true in time."""
    deadline = time.monotonic() + secs
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def remove_deployment(deployment: Deployment) -> None:
    """Remove queues, folder and bucket of a run."""
    deployment.rabbitmq.delete_queues(*all_queues())
    if os.path.ismount(deployment.store_folder):
        subprocess.run(["umount", "-l", deployment.store_folder], check=True)
    shutil.rmtree(deployment.folder, ignore_errors=True)
    for path in deployment.store_folder.glob("*"):
        shutil.rmtree(path, ignore_errors=True)
