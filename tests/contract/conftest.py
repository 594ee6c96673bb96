"""Fixtures of the contract tests: databases, brokers, and a driver for the repository's tests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from postgres_server import PostgresServer
from rabbitmq_server import RabbitServer

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.messages import DEAD_LETTER_QUEUE, Event, Failure, Outcome, Result, StepTime
from penstock.common.settings import BrokerSettings
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, Applied, Image, Job, Repository, StepTotals, StoredPlan

DATABASES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": lambda request: f"sqlite:///{request.getfixturevalue('tmp_path')}/penstock.db",
    "postgresql": lambda request: request.getfixturevalue("postgres_package").create_database(),
    "postgresql-17": lambda request: request.getfixturevalue("postgres_image").create_database(),
}
"""Each creates an empty database of its kind and returns its URL."""

PLAN = [{"op": "resize"}, {"op": "blur"}, {"op": "encode"}]


@pytest.fixture(scope="module", params=["postgres_package", "postgres_image"])
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Both of the PostgreSQL servers, in turn. A test that stops one starts it again."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=["rabbitmq_package", "rabbitmq_image"])
def rabbitmq(request: pytest.FixtureRequest) -> RabbitServer:
    """Both of the RabbitMQ servers, in turn. A test that stops one starts it again."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def connect(rabbitmq: RabbitServer) -> Iterator[Callable[..., RabbitBroker]]:
    """Creates brokers on `rabbitmq`; takes a URL and settings."""
    brokers = []

    def make(url: str = rabbitmq.url, **settings: float) -> RabbitBroker:
        quick = {"broker_max_pause_secs": 0.3, "broker_timeout_secs": 20.0}
        brokers.append(RabbitBroker(url, BrokerSettings(**{**quick, **settings})))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.close()
    rabbitmq.delete_queues("penstock.step.test", "penstock.step.other", DEAD_LETTER_QUEUE)


class RepositoryDriver:
    """Creates jobs, images and events for the repository's tests, and checks counters, only through the port."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def job(self, job: str, **fields: Any) -> Job:
        return Job(job, JobState.RECEIVING, StoredPlan(PLAN), {"output": "jpg"}, created_at=1.5, **fields)

    def image(self, image: int, **fields: Any) -> Image:
        return Image(image, f"photos/{image}.jpg", f"{image}", f"uploads/u/{image}", **fields)

    def failed_image(self, image: int) -> Image:
        return self.image(image, state=ImageState.FAILED, error=self.error("unsupported_type", "resize"))

    def error(self, code: str, step: str, retry: bool = False) -> dict[str, Any]:
        return {"code": code, "message": "not an image", "step": step, "retry": retry}

    def received(self, job: str = "job-1", images: int = 3, failed: tuple[int, ...] = (), **fields: Any) -> str:
        """Add a job that is still receiving; the images in `failed` have failed already."""
        self.repository.create_job(self.job(job, **fields))
        self.repository.add_images(job, (self.failed_image(i) if i in failed else self.image(i) for i in range(images)))
        return job

    def accepted(self, job: str = "job-1", images: int = 3, failed: tuple[int, ...] = (), **fields: Any) -> str:
        self.repository.accept_job(self.received(job, images, failed, **fields))
        return job

    def ended(self, job: str = "job-1", done: int = 1, failed: int = 1, **fields: Any) -> str:
        """Add a job whose first images are done, and the others failed."""
        self.accepted(job, done + failed, **fields)
        ids = range(done + failed)
        self.repository.apply([self.done(job, *ids[:done]), self.failed(job, *ids[done:])])
        return job

    def started(self, job: str, *images: int, run: int = 0) -> Event:
        return Event(kind="started", job=job, run=run, chunk="c", images=list(images))

    def done(self, job: str, *images: int, run: int = 0) -> Event:
        outcomes = [
            Outcome(id=image, state="done", results=[self.result(job, image)], timings=self.timings(3), attempts=2)
            for image in images
        ]
        return Event(kind="finished", job=job, run=run, chunk="c", outcomes=outcomes)

    def broken(self, job: str, *images: int, run: int = 0) -> Event:
        """Images that failed, and that a retry would not help."""
        return self.failed(job, *images, run=run, step=0, blob=None, code="corrupt_image", retry=False)

    def failed(
        self,
        job: str,
        *images: int,
        run: int = 0,
        step: int = 1,
        blob: str | None = "work/a/blob",
        code: str = "step_timeout",
        retry: bool = True,
    ) -> Event:
        failure = Failure(
            **self.error(code, PLAN[step]["op"], retry=retry),
            step_index=step,
            resume_blob=blob,
            resume_parts=4,
        )
        outcomes = [
            Outcome(id=image, state="failed", error=failure, timings=self.timings(step + 1), attempts=3)
            for image in images
        ]
        return Event(kind="finished", job=job, run=run, chunk="c", outcomes=outcomes)

    def result(self, job: str, image: int) -> Result:
        name = f"{image}-0.jpg"
        return Result(
            key=f"results/{job}/{name}",
            name=name,
            size=9,
            media_type="image/jpeg",
            width=4,
            height=3,
            sha256="ab" * 32,
        )

    def timings(self, steps: int) -> list[StepTime]:
        return [StepTime(step=step, wait=0.5, work=0.25) for step in range(steps)]

    def apply_one(self, *events: Event) -> Applied:
        [applied] = self.repository.apply(events)
        return applied

    def states(self, job: str = "job-1") -> list[ImageState]:
        return [image.state for image in self.rows(job)]

    def rows(self, job: str = "job-1") -> list[Image]:
        rows: list[Image] = []
        while page := self.repository.list_images(job, after=rows[-1].id if rows else -1, limit=1_000_000):
            rows += page
        return rows

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Poll until something holds, for half a minute at most."""
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end, "the condition never held"

    def check_counters(self, job: str = "job-1") -> Job:
        """Check that the counters of the job's row agree with its images' rows; return the job."""
        found = self.repository.get_job(job, ALL_OWNERS)
        assert found is not None
        rows = self.rows(job)
        counted = Counter(image.state.value for image in rows)
        assert {state.value: getattr(found, state.value) for state in ImageState} == {
            state.value: counted[state.value] for state in ImageState
        }
        assert found.total == len(rows)
        assert found.steps == [_totals(rows, step) for step in range(len(PLAN))]
        numbers = [image.failure_number for image in self.repository.list_failures(job, after=0, limit=1_000_000)]
        assert numbers == sorted({image.failure_number for image in rows} - {None})
        assert len(numbers) == found.failed
        errors = [image.error for image in rows if image.error is not None]
        by_code = Counter(error["code"] for error in errors)
        assert {each.code: each.images for each in found.failures} == by_code
        assert found.retryable == sum(error["retry"] for error in errors)
        for code, images in by_code.items():
            assert len(self.repository.list_images(job, code=code, limit=1_000_000)) == images
        assert max(numbers, default=0) <= found.failures_seen
        return found


def _totals(rows: list[Image], step: int) -> StepTotals:
    done = [image for image in rows if image.state is ImageState.DONE]
    failed = [image for image in rows if image.state is ImageState.FAILED]
    times = [timing for image in done + failed for timing in image.timings if timing.step == step]
    return StepTotals(
        done=len(done) + sum(step < image.resume_step for image in failed),
        failed=sum(step == image.resume_step for image in failed),
        wait_secs=sum(timing.wait for timing in times),
        work_secs=sum(timing.work for timing in times),
    )


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return DATABASES[request.param](request)


@pytest.fixture
def open_repository(database_url: str) -> Iterator[Callable[[], Repository]]:
    """Opens the same database with every call."""
    opened: list[Repository] = []

    def open_one() -> Repository:
        opened.append(SqlRepository(database_url))
        return opened[-1]

    yield open_one
    for repository in opened:
        repository.close()


@pytest.fixture
def repository(open_repository: Callable[[], Repository]) -> Repository:
    return open_repository()


@pytest.fixture
def driver(repository: Repository) -> RepositoryDriver:
    return RepositoryDriver(repository)
