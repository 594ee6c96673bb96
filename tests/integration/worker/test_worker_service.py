"""`penstock worker` as processes over a real RabbitMQ: they requeue, survive and lose nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rabbitmq_server import RabbitServer
from waiting import wait_until

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.messages import (
    DEAD_LETTER_QUEUE,
    EVENTS_QUEUE,
    Chunk,
    Event,
    ImageRef,
    Outcome,
    read_events,
    step_queue,
)
from penstock.common.model.operations import BUILT_IN
from penstock.common.model.plan import make_plan
from penstock.common.registry import custom_steps, operations
from penstock.common.settings import BrokerSettings, Limits, StoreSettings
from penstock.common.store.base import Store
from penstock.common.store.factory import open_store
from penstock.common.store.local import LocalStore

PLUGINS = Path(__file__).parents[2] / "plugins"
SECS = 60.0
JOB = "job"
CRASH = (0, 0, 255)
CHAIN = [["resize", "90x70"], ["split", True], ["blur", "median"]]


class ServiceFixture:
    """A broker, a store in a folder, and as many worker processes as a test starts."""

    def __init__(self, server: RabbitServer, folder: Path, environment: dict[str, str]) -> None:
        self.server = server
        self.folder = folder
        self.environment = environment
        self.store_url = f"file://{folder}/store"
        self.store: Store = LocalStore(folder / "store")
        self.broker = RabbitBroker(server.url, BrokerSettings())
        self.queues = [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())]
        self.broker.declare(self.queues)
        self.server.purge_queues(*self.queues)
        self._events = self.broker.consume([EVENTS_QUEUE], 1_000)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, steps: str = "all", *options: str, url: str | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker process."""
        given = ["--steps", steps, "--broker", url or self.server.url, "--store", self.store_url]
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", "worker", *given, *options],
                env=self.environment | environment,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def use_bucket(self, url: str) -> None:
        """Keep images in a bucket from now on."""
        self.store_url, self.store = url, open_store(StoreSettings(store_url=url), None)

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.kill()
            process.wait(SECS)
        self._events.close()
        self.server.purge_queues(*self.queues)
        self.broker.close()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def upload(self, *images: np.ndarray) -> list[ImageRef]:
        references = []
        for number, image in enumerate(images):
            self.store.put(f"uploads/u/{number}", [cv2.imencode(".png", image)[1].tobytes()])
            references.append(ImageRef(id=number, stem=f"image{number}", ref=f"uploads/u/{number}"))
        return references

    def send(self, ops: list[Any], images: list[ImageRef], **changes: Any) -> None:
        """Publish a chunk to the queue of its first step."""
        plan = make_plan(ops, None, Limits())
        fields = {"job": JOB, "chunk": f"{images[0].id}-abc", "results": f"results/{JOB}", **changes}
        chunk = Chunk(plan=plan.document(), images=images, **fields)
        self.broker.publish(step_queue(plan.steps[0]), [chunk.model_dump_json().encode()])

    def wait_for_outcomes(self, count: int) -> dict[int, Outcome]:
        """Wait until so many images have ended, and return their outcomes by image."""
        found: dict[int, Outcome] = {}
        while len(found) < count:
            for event in self._next_events():
                found.update({outcome.id: outcome for outcome in event.outcomes})
        return found

    def wait_for_start(self) -> None:
        """Wait until a worker has published that it started a chunk."""
        while not any(event.kind == "started" and event.job for event in self._next_events()):
            pass

    def wait_for_depth(self, step: str, ready: int) -> None:
        wait_until(lambda: self.broker.depth(step_queue(step)).ready == ready)

    def results(self, job: str = JOB) -> dict[str, bytes]:
        return {key.rpartition("/")[2]: self.store.get(key) for key in self.store.list(f"results/{job}")}

    def _next_events(self) -> list[Event]:
        delivery = self._events.get(SECS)
        assert delivery is not None, f"no event came; the workers' log:\n{self.log}"
        self._events.ack(delivery)
        return read_events(delivery.body)


@pytest.fixture
def service(
    rabbitmq: RabbitServer, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServiceFixture]:
    monkeypatch.syspath_prepend(PLUGINS)
    custom_steps.cache_clear()
    settings = {"PENSTOCK_STEP_TIMEOUT_SECS": "30", "PENSTOCK_MAX_ATTEMPTS": "3"}
    service = ServiceFixture(rabbitmq, tmp_path, environment | settings)
    yield service
    service.close()
    custom_steps.cache_clear()


def draw(number: int) -> np.ndarray:
    random = np.random.default_rng(number)
    return cv2.resize(random.integers(1, 255, (15, 20, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)


def finish(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    """Send a process a signal and wait for its end."""
    process.send_signal(number)
    return process.wait(SECS)


@pytest.mark.parametrize("store", ["folder", "bucket"])
def test_results_equal_those_of_penstock_run_in_every_placement(
    service: ServiceFixture,
    penstock: Callable[..., subprocess.CompletedProcess[str]],
    store: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if store == "bucket":
        s3 = request.getfixturevalue("s3")
        service.environment.update(s3.environment)
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        service.use_bucket(s3.create_bucket())
    images = [draw(number) for number in range(5)]
    folder = service.folder / "images"
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"image{number}.png"), image)
    ran = penstock(
        "run", folder, "--op", "resize=90x70", "--op=split", "--op=blur=median", "--out", service.folder / "out"
    )
    assert ran.returncode == 0, ran.stderr
    expected = {path.name: path.read_bytes() for path in (service.folder / "out").glob("*.jpg")}
    references = service.upload(*images)
    for job, placement in {"fused": ["resize,split", "blur,encode"], "each": list(CHAIN_STEPS)}.items():
        workers = [service.start(steps) for steps in placement]
        service.send(CHAIN, references, job=job, results=f"results/{job}")
        assert {outcome.state for outcome in service.wait_for_outcomes(5).values()} == {"done"}
        assert [finish(worker) for worker in workers] == [0] * len(workers)
        assert service.results(job) == expected
    assert len(expected) == 20


CHAIN_STEPS = ("resize", "split", "blur", "encode")


def test_draining_finishes_one_image_and_requeues_the_rest(service: ServiceFixture) -> None:
    worker = service.start("pause,encode,blur")
    for number in range(4):
        images = service.upload(*(draw(each) for each in range(4)))
        service.send([["pause", 0.1]], [each.model_copy(update={"id": 10 * number + each.id}) for each in images])
    service.wait_for_start()
    assert finish(worker) == 0
    service.start("pause,encode")
    ended = service.wait_for_outcomes(16)
    assert set(ended) == {10 * number + each for number in range(4) for each in range(4)}
    assert {outcome.state for outcome in ended.values()} == {"done"}


def test_a_chunk_requeued_by_many_drains_is_not_blamed(service: ServiceFixture) -> None:
    images = service.upload(draw(0), draw(1))
    service.send([["pause", 0.1]], images)
    holder = RabbitBroker(service.server.url, BrokerSettings())
    for _ in range(6):  # twice as many as starts are allowed
        consumer = holder.consume([step_queue("pause")], 2)
        assert consumer.get(SECS) is not None
        consumer.close()
    holder.close()
    service.start()
    assert {outcome.state for outcome in service.wait_for_outcomes(2).values()} == {"done"}


def alive(service: ServiceFixture) -> list[Path]:
    """Return the state files of worker processes, without those that are just being written."""
    return [file for file in service.folder.glob("alive*") if file.suffix != ".new"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_second_signal_exits_at_once_and_the_chunk_is_redelivered(service: ServiceFixture, processes: int) -> None:
    file = service.folder / "alive"
    worker = service.start("all", "--concurrency", str(processes), PENSTOCK_LIVENESS_FILE=str(file))
    wait_until(lambda: len(alive(service)) == processes)
    service.send([["pause", 20.0]], service.upload(draw(0)))
    service.wait_for_start()
    worker.terminate()
    wait_until(lambda: not list(service.folder.glob("alive*")))  # every process drains
    assert finish(worker) == 128 + signal.SIGTERM, "a drained worker exits with 0"
    service.wait_for_depth("pause", 1)


def test_a_chunk_that_takes_longer_than_the_drain_is_redelivered(service: ServiceFixture) -> None:
    worker = service.start(PENSTOCK_DRAIN_SECS="0.5")
    service.send([["pause", 20.0]], service.upload(draw(0)))
    service.wait_for_start()
    assert finish(worker) == 128 + signal.SIGTERM
    service.wait_for_depth("pause", 1)


def test_an_image_that_kills_its_worker_fails_alone(service: ServiceFixture) -> None:
    bad = np.full((24, 32, 3), CRASH, np.uint8)
    worker = service.start("all", "--concurrency", "2")
    service.send([["trip"]], service.upload(draw(0), bad, draw(2), draw(3)))
    ended = service.wait_for_outcomes(4)
    assert [ended[number].state for number in range(4)] == ["done", "failed", "done", "done"]
    error = ended[1].error
    assert error is not None
    assert (error.code, error.step, ended[1].attempts) == ("step_crashed", "trip", 3)
    assert finish(worker) == 0


def test_a_worker_killed_during_a_chunk_loses_nothing(service: ServiceFixture) -> None:
    worker = service.start()
    service.send([["pause", 0.2]], service.upload(*(draw(number) for number in range(4))))
    service.wait_for_start()
    assert finish(worker, signal.SIGKILL) == -signal.SIGKILL
    service.start()
    ended = service.wait_for_outcomes(4)
    assert {outcome.state for outcome in ended.values()} == {"done"}
    wait_until(lambda: all(service.broker.depth(step_queue(step)).ready == 0 for step in operations()))


def test_a_worker_waits_for_its_broker_and_can_be_stopped_meanwhile(service: ServiceFixture) -> None:
    waiting = service.start(url="amqp://127.0.0.1:1")
    wait_until(lambda: "waiting for the broker" in service.log)
    assert finish(waiting) == 0


def test_a_worker_survives_a_restart_of_its_broker(service: ServiceFixture) -> None:
    service.start()
    service.send(CHAIN, service.upload(draw(0)))
    service.wait_for_outcomes(1)
    service.server.stop()
    service.server.start()
    service.send(CHAIN, service.upload(draw(0), draw(1)))
    assert {outcome.state for outcome in service.wait_for_outcomes(2).values()} == {"done"}


def test_a_worker_that_was_frozen_does_not_damage_anothers_results(service: ServiceFixture) -> None:
    frozen = service.start("all", PENSTOCK_BROKER_HEARTBEAT_SECS="1")
    service.send([["pause", 0.5], ["blur", "median"]], service.upload(draw(0), draw(1), draw(2)))
    service.wait_for_start()
    frozen.send_signal(signal.SIGSTOP)
    service.start()
    first = service.wait_for_outcomes(3)
    results = service.results()
    frozen.send_signal(signal.SIGCONT)
    assert {outcome.state for outcome in first.values()} == {"done"}
    assert finish(frozen) == 0
    assert service.results() == results
    service.wait_for_depth("pause", 0)


def test_the_liveness_file_exists_only_while_the_worker_consumes(
    service: ServiceFixture, penstock: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    file = service.folder / "alive"
    environment = {"PENSTOCK_LIVENESS_FILE": str(file), "PENSTOCK_CONCURRENCY": "2"}
    (service.folder / "alive-0").touch()  # left by the container's last run
    (service.folder / "alive-1").touch()
    worker = service.start(url="amqp://127.0.0.1:1", **environment)
    wait_until(lambda: "waiting for the broker" in service.log)
    assert penstock("worker", "--alive", **environment).returncode == 1, "it does not consume yet"
    assert finish(worker) == 0
    worker = service.start(**environment)
    wait_until(lambda: len(alive(service)) == 2)
    assert penstock("worker", "--alive", **environment).returncode == 0
    wait_until(lambda: service.server.count_consumers(step_queue("blur")) == 2)
    worker.kill()
    worker.wait(SECS)
    wait_until(lambda: service.server.count_consumers(step_queue("blur")) == 0)  # its processes exit as well
    wait_until(lambda: not list(service.folder.glob("alive-*")))
    assert penstock("worker", "--alive", **environment).returncode == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--steps", "resise"],
            f"no step 'resise': it is not known; accepted are all, or some of {','.join(BUILT_IN)}",
        ),
        (["--store", "s3://b"], "no broker; give --broker or PENSTOCK_BROKER_URL"),
        (["--broker", "amqp://h"], "no store; give --store or PENSTOCK_STORE_URL"),
        (["--broker", "http://h", "--store", "file:///tmp"], "its scheme is 'http'"),
        (["--broker", "amqp://h", "--store", "ftp://h"], "accepted is one of file:///folder"),
        (["--alive"], "--alive needs a liveness file; set PENSTOCK_LIVENESS_FILE"),
    ],
)
def test_a_usage_error_is_one_line(
    penstock: Callable[..., subprocess.CompletedProcess[str]], options: list[str], message: str
) -> None:
    ran = penstock("worker", *options)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert message in ran.stderr
