"""API server: the REST API on loopback over a real database and store; tests decide when images end."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.common.broker.memory import MemoryBroker
from penstock.common.model.errors import RETRY_MAY_HELP
from penstock.common.model.messages import EVENTS_QUEUE, Event, Failure, Outcome, Result, StepTime
from penstock.common.model.result_names import PARTS, ResultNames
from penstock.common.settings import Limits
from penstock.common.store.keys import result_key, results_prefix
from penstock.common.store.local import LocalStore
from penstock.coordinator.api.services import Services
from penstock.coordinator.connections.limits import ConnectionLimits
from penstock.coordinator.connections.server import HttpServer
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, Image, Job, Repository, StoredPlan
from penstock.coordinator.ports.scheduler import Backlog, Forecast, JobProgress, StepStatus, WorkerState


@dataclass
class ManualScheduler:
    """A scheduler without workers: a test calls `finish` to end a job's next images, with results in the store."""

    repository: Repository
    store: LocalStore
    woken: int = 0
    job_positions: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    speeds: dict[str, float] = field(default_factory=dict)
    known_workers: list[WorkerState] = field(default_factory=list)
    expected: Forecast = field(default_factory=Forecast)
    has_prices: bool = False
    before_steps: Callable[[], object] = lambda: None

    def finish(
        self, job: str, count: int = 1_000, parts: int = 1, fail: Mapping[str, str] | None = None, repeats: int = 50
    ) -> None:
        """End up to `count` images: with the code in `fail` for their name, else with `parts` results."""
        images = self.repository.take_pending(job, count)
        found = self.repository.get_job(job, ALL_OWNERS)
        assert found is not None
        outcomes = [self._outcome(found, image, parts, (fail or {}).get(image.name), repeats) for image in images]
        self.repository.apply([Event(kind="finished", job=job, run=found.run, chunk="c", outcomes=outcomes)])

    def _outcome(self, job: Job, image: Image, parts: int, code: str | None, repeats: int) -> Outcome:
        timings = [StepTime(step=index, wait=0.5, work=0.25) for index in range(len(job.plan.steps))]
        if code is not None:
            error = Failure(code=code, message=f"it is {code}", step=job.plan.steps[0], retry=code in RETRY_MAY_HELP)
            return Outcome(id=image.id, state="failed", error=error)
        results = [self._result(job, image, part, parts, repeats) for part in range(parts)]
        return Outcome(id=image.id, state="done", results=results, timings=timings)

    def _result(self, job: Job, image: Image, part: int, parts: int, repeats: int) -> Result:
        data = f"{image.name} {part} ".encode() * repeats
        name = ResultNames(job.document.get("names", PARTS)).name(image.stem, part, parts, "jpg")
        key = result_key(results_prefix(job.id), name)
        self.store.put(key, [data])
        digest = hashlib.sha256(data).hexdigest()
        return Result(key=key, name=name, size=len(data), media_type="image/jpeg", width=2, height=1, sha256=digest)

    def wake(self) -> None:
        self.woken += 1

    def create_small(self, job: Job, images: Sequence[Image]) -> Job:
        return self.repository.create_accepted(job, images)

    def start_small(self, job: Job, images: Sequence[Image]) -> None:
        self.wake()

    def find_small(self, job: str) -> Image | None:
        return self.repository.get_image(job, 0)

    def store_small(self, job: str) -> None:
        pass

    def count_unstored(self) -> int:
        return 0

    def progress(self, job: str) -> JobProgress:
        return JobProgress(self.job_positions.get(job, []), self.speeds.get("job"))

    def steps(self) -> list[StepStatus]:
        self.before_steps()
        return [
            StepStatus("resize", 2, 3, 1, 40, 0.01, 0.4, 0.5),
            StepStatus("blur", 2, 9, 2, 40, 0.05, 2.0, 1.0),
            StepStatus("encode", 2, 0, 0, 40),
        ]

    def backlog(self, steps: Sequence[str], secs_per_worker: float) -> Backlog:
        named = [status for status in self.steps() if status.name in steps]
        return Backlog(tuple(steps), sum(status.backlog_seconds or 0.0 for status in named), 40 * len(named), 2)

    def service_times(self, plan: StoredPlan) -> list[float | None]:
        return [self.speeds.get(step) for step in plan.steps]

    def forecast(self, job: Job) -> Forecast:
        return self.expected

    def cancel(self, job: str) -> Job:
        return self.repository.cancel_job(job)

    def workers(self) -> list[WorkerState]:
        return self.known_workers

    def retry(
        self, job: str, images: Sequence[int] | None, *, everything: bool = False, code: str | None = None
    ) -> tuple[Job, int]:
        return self.repository.retry_job(job, images, everything=everything, code=code)

    def delete_ended(self, jobs: Sequence[str]) -> set[str]:
        deleted = self.repository.delete_ended(jobs)
        for job in deleted:
            self.store.delete_prefix(results_prefix(job.id))
            if job.upload:
                self.store.delete_prefix(f"uploads/{job.upload}")
        return {job.id for job in deleted}

    def delete(self, job: str) -> None:
        deleted = self.repository.delete_job(job)
        self.store.delete_prefix(results_prefix(job))
        if deleted.upload:
            self.repository.discard_uploads(deleted.upload)
        if deleted.upload and not self.repository.uploads_in_use([deleted.upload]):
            self.store.delete_prefix(f"uploads/{deleted.upload}")


@dataclass
class ApiServer:
    """A running REST API, its services, and a client for it."""

    services: Services
    scheduler: ManualScheduler
    store: LocalStore
    port: int
    http: httpx.Client

    def stored(self) -> list[str]:
        """Return all keys below `uploads` and all files being written."""
        unfinished = [path.name for path in (self.store.root / ".tmp").iterdir()]
        return sorted(self.store.list("uploads")) + unfinished

    def submit(self, names: Sequence[str], data: bytes, **document: Any) -> dict[str, Any]:
        """Submit a job with `data` under each of the names; return the job."""
        document.setdefault("operations", [["split", True], ["blur", "median"]])
        sent = [("files", (name, data)) for name in names]
        answer = self.http.post("/v1/jobs", data={"job": _json(document)}, files=sent)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def raw(self, request: bytes, *, then_close: bool = False) -> tuple[int, bytes]:
        """Send raw bytes; return status and body of the response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            connection.sendall(request)
            if then_close:
                return 0, b""
            return read_answer(connection)

    def post_form(self, path: str, body: bytes, boundary: str = "B") -> tuple[int, dict[str, Any]]:
        """Send the raw bytes of a form; return status and JSON of the response."""
        answer = self.http.post(
            path, content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
        )
        return answer.status_code, answer.json()


def _json(document: Any) -> str:
    return httpx.Request("POST", "http://x", json=document).content.decode()


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read one response with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += (piece := connection.recv(65536))
        assert piece, f"the connection closed after {data!r}"
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += (piece := connection.recv(65536))
        assert piece, "the connection closed within the answer"
    return int(head.split()[1]), body


def make_services(folder: Path, **changes: Any) -> Services:
    """Return services over SQLite, a folder and a broker in memory."""
    store = LocalStore(folder / "store")
    repository = SqlRepository.sqlite(folder / "penstock.db")
    broker = MemoryBroker()
    broker.declare([EVENTS_QUEUE])
    services = Services(repository, store, broker, ManualScheduler(repository, store), Limits(), None)
    return replace(services, **changes)


def make_server(app: ASGIApp, **limits: Any) -> uvicorn.Server:
    """Return a server that has not started."""
    return HttpServer(app, ConnectionLimits(**limits), threading.Event(), host="127.0.0.1", port=0, lifespan="off")


def bound_port(server: uvicorn.Server) -> int:
    """Wait until a server listens; return its port."""
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.005)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


class AppSwitch:
    """Passes requests to the current test's application, so that all tests can share one HTTP server."""

    app: ASGIApp
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):  # the server's own: applications come and go
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})


Serve = Callable[..., ApiServer]
"""Serves a REST API with changes to its services."""


@contextmanager
def repeating(act: Callable[[], object]) -> Iterator[None]:
    """Call a function every few milliseconds from another thread."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.wait(0.005):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
