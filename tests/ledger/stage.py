"""The processes of one run, over a database, a store and queues of its own: started, kept running, ended.

Processes are forked from one that has everything imported already, because a sweep starts hundreds of them.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import faulty
from faulty import CRASH_AT, NOTES, REDELIVERED, STRUCK, Crash
from rabbitmq_server import RabbitServer
from workload import PLUGINS

from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.model.operations import BUILT_IN

OWN_STEPS = {"brighten", "trip", "pause", "twins", "scribble"}
LEAVE_SECS = 20.0
PORTS = (20_000, 32_000)
QUICK = {
    "PENSTOCK_REPAIR_SECS": "1",
    "PENSTOCK_STEP_TIMEOUT_SECS": "4",
    "PENSTOCK_SWEEP_SECS": "1",
    "PENSTOCK_ABANDONED_SECS": "2",
    "PENSTOCK_CANCEL_LOOKUP_SECS": "0.5",
    "PENSTOCK_BROKER_MAX_PAUSE_SECS": "0.5",
}

_NURSERY = multiprocessing.get_context("forkserver")
_NURSERY.set_forkserver_preload(["nursery"])


def all_queues() -> list[str]:
    """Return every queue that there can be."""
    return [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in sorted({*BUILT_IN, *OWN_STEPS}))]


@dataclass(frozen=True)
class Place:
    """What a run stands on: servers that outlive it, and a folder, a database and a store that are its own."""

    folder: Path
    inputs: Path
    rabbitmq: RabbitServer
    store_url: str
    store_folder: Path
    database_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def broker_url(self) -> str:
        """Where RabbitMQ is."""
        return self.rabbitmq.url


@dataclass
class Role:
    """One process that shall always run: its command line, and the one that plays it now."""

    name: str
    arguments: Sequence[str]
    url: str = ""
    process: BaseProcess | None = None
    restarts: int = 0
    kept: bool = True


class Stage:
    """`placement` are the workers by the steps they serve. `crash` happens in the role named `victim`."""

    def __init__(
        self,
        place: Place,
        placement: Sequence[str],
        *,
        coordinators: int = 1,
        crash: Crash | None = None,
        victim: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self._crash = crash
        self._victim = victim
        self._settings = {**QUICK, "PENSTOCK_INPUT_ROOT": str(place.inputs), **(settings or {})}
        self.coordinators = [self._coordinator(index) for index in range(coordinators)]
        self.workers = [Role(f"worker-{index}", ["worker", "--steps", steps]) for index, steps in enumerate(placement)]

    def _coordinator(self, index: int) -> Role:
        port = find_port()
        data = str(self.place.folder / "data")
        database = [] if self.place.database_url is None else ["--database", self.place.database_url]
        options = ["--port", str(port), "--data", data, *database]
        return Role(f"coordinator-{index}", ["coordinator", *options], f"http://127.0.0.1:{port}")

    @property
    def roles(self) -> list[Role]:
        """Every role."""
        return [*self.coordinators, *self.workers]

    @property
    def restarts(self) -> int:
        """How many processes had to be started again."""
        return sum(role.restarts for role in self.roles)

    def start(self) -> None:
        """Start every process; one of them is going to meet its crash."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        for role in self.roles:
            self.begin(role, self._crash if role.name == self._victim else None)

    def begin(self, role: Role, crash: Crash | None = None) -> None:
        """Start a process."""
        place = self.place
        arguments = [*role.arguments, "--broker", place.broker_url, "--store", place.store_url]
        environment = {**self._settings, **place.environment, NOTES: str(self._notes(role.name))}
        if crash is not None:
            environment[CRASH_AT] = crash.write()
        log = place.folder / f"{role.name}.log"
        role.process = _NURSERY.Process(target=_play, args=(arguments, environment, log), name=role.name, daemon=True)
        role.process.start()

    def tend(self) -> None:
        """Start again what has died."""
        for role in self.roles:
            if role.kept and role.process is not None and not role.process.is_alive():
                role.restarts += 1
                self.begin(role)

    def kill(self, role: Role) -> None:
        """End a process as a power cut would."""
        self.signal(role, signal.SIGKILL)
        if role.process is not None:
            role.process.join(LEAVE_SECS)

    def signal(self, role: Role, number: signal.Signals) -> None:
        """Send a signal, whether or not the process still runs."""
        if role.process is not None and role.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(role.process.pid, number)

    def leave(self, roles: Sequence[Role]) -> list[str]:
        """Have processes leave; return the names of those that had to be killed."""
        for role in roles:
            role.kept = False
            self.signal(role, signal.SIGTERM)
        late = []
        for role in roles:
            if role.process is not None:
                role.process.join(LEAVE_SECS)
                if role.process.is_alive():
                    late.append(role.name)
                    self.kill(role)
        return late

    def come_back(self, roles: Sequence[Role]) -> None:
        """Start processes that have left."""
        for role in roles:
            role.kept = True
            self.begin(role)

    def end(self) -> None:
        """End whatever runs, and remove the queues."""
        for role in self.roles:
            role.kept = False
            self.signal(role, signal.SIGKILL)
        for role in self.roles:
            if role.process is not None:
                role.process.join(LEAVE_SECS)

    def reached(self) -> dict[str, list[str]]:
        """Return what each process has noted, in its order."""
        notes = {role.name: self._notes(role.name) for role in self.roles}
        return {name: path.read_text().splitlines() if path.exists() else [] for name, path in notes.items()}

    @property
    def redelivered(self) -> int:
        """How many messages came again."""
        return sum(lines.count(REDELIVERED) for lines in self.reached().values())

    @property
    def struck(self) -> bool:
        """Whether the crash has happened."""
        return any(STRUCK in lines for lines in self.reached().values())

    def output(self) -> str:
        """Return what the processes wrote that may explain a finding."""
        logs = sorted(self.place.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)

    def _notes(self, name: str) -> Path:
        return self.place.folder / f"{name}.notes"


def _play(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """Be one process of Penstock, with points. Runs in the process that was forked."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.update(environment)
    sys.path.insert(0, str(PLUGINS))
    faulty.run(arguments)


def find_port() -> int:
    """Return a port that is free now, none of those that connections take for their own end.

    A coordinator that is started again wants the port that it had, and meanwhile many a connection is made anew.
    """
    while True:
        port = random.randrange(*PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def stored_keys(folder: Path) -> list[str]:
    """Return the key of every object below a folder that is a store, or a bucket of the S3 server."""
    own = {".tmp", ".sgwtmp"}
    keys = []
    for place, folders, files in os.walk(folder):  # which passes over what goes away meanwhile
        folders[:] = [name for name in folders if name not in own]
        keys += [os.path.relpath(os.path.join(place, name), folder) for name in files]
    return keys


def wait_for(condition: Callable[[], object], secs: float) -> bool:
    """Wait until something holds; return whether it did in time."""
    deadline = time.monotonic() + secs
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def remove(place: Place) -> None:
    """Remove what a run has left: queues, folder, bucket."""
    place.rabbitmq.delete_queues(*all_queues())
    shutil.rmtree(place.folder, ignore_errors=True)
    for path in place.store_folder.glob("*"):
        shutil.rmtree(path, ignore_errors=True)
