"""`penstock worker` as processes of their own, over a real RabbitMQ: what they give back, survive, and never lose."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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
    read_chunk,
    read_events,
    step_queue,
)
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


class Site:
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
        self.seen: list[Event] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, steps: str = "all", *options: str, url: str | None = None, **more: str) -> subprocess.Popen[bytes]:
        """Start a worker process."""
        given = ["--steps", steps, "--broker", url or self.server.url, "--store", self.store_url]
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", "worker", *given, *options],
                env=self.environment | more,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def move_to_bucket(self, url: str) -> None:
        """Keep pictures in a bucket from here on."""
        self.store_url, self.store = url, open_store(StoreSettings(store_url=url), None)

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.kill()
            process.wait(SECS)
        self._events.close()
        self.server.purge_queues(*self.queues)
        self.broker.close()

    def upload(self, *pictures: np.ndarray) -> list[ImageRef]:
        images = []
        for number, picture in enumerate(pictures):
            self.store.put(f"uploads/u/{number}", [cv2.imencode(".png", picture)[1].tobytes()])
            images.append(ImageRef(id=number, stem=f"picture{number}", ref=f"uploads/u/{number}"))
        return images

    def send(self, ops: list[Any], images: list[ImageRef], **more: Any) -> None:
        """Put a chunk into the queue of its first step."""
        plan = make_plan(ops, None, Limits()).document()
        given = {"job": JOB, "chunk": f"{images[0].id}-abc", "results": f"results/{JOB}", **more}
        chunk = Chunk(plan=plan, images=images, **given)
        self.broker.publish(step_queue(plan[0]["op"]), [chunk.model_dump_json().encode()])

    def hear(self, count: int) -> dict[int, Outcome]:
        """Wait until so many images have ended, and return how."""
        found: dict[int, Outcome] = {}
        self.hear_until(lambda event: found.update({each.id: each for each in event.outcomes}) or len(found) >= count)
        return found

    def hear_until(self, enough: Callable[[Event], bool]) -> None:
        end = time.monotonic() + SECS
        while True:
            delivery = self._events.get(end - time.monotonic())
            assert delivery is not None, f"it never came; the workers say:\n{(self.folder / 'log').read_text()}"
            self._events.ack(delivery)
            events = read_events(delivery.body)
            self.seen += events
            if max(map(enough, events)):  # all of them are looked at
                return

    def hear_start(self) -> None:
        self.hear_until(lambda event: event.kind == "started")

    def results(self, job: str = JOB) -> dict[str, bytes]:
        return {key.rpartition("/")[2]: self.store.get(key) for key in self.store.list(f"results/{job}")}

    def waiting(self, step: str) -> list[Chunk]:
        """Take every chunk that waits for a step."""
        consumer = self.broker.consume([step_queue(step)], 100)
        chunks = []
        while delivery := consumer.get(1.0):
            chunks.append(read_chunk(delivery.body))
            consumer.ack(delivery)
        consumer.close()
        return chunks


@pytest.fixture
def site(
    rabbitmq: RabbitServer, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    monkeypatch.syspath_prepend(PLUGINS)
    custom_steps.cache_clear()
    site = Site(rabbitmq, tmp_path, environment | {"PENSTOCK_STEP_TIMEOUT_SECS": "30", "PENSTOCK_MAX_ATTEMPTS": "3"})
    yield site
    site.close()
    custom_steps.cache_clear()


def draw(number: int) -> np.ndarray:
    random = np.random.default_rng(number)
    return cv2.resize(random.integers(1, 255, (15, 20, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)


def finish(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    """Send a process a signal and wait for its end."""
    process.send_signal(number)
    return process.wait(SECS)


@pytest.mark.parametrize("store", ["folder", "bucket"])
def test_bytes_are_those_of_run_whether_steps_are_fused_or_not(
    site: Site,
    penstock: Callable[..., subprocess.CompletedProcess[str]],
    store: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if store == "bucket":
        s3 = request.getfixturevalue("s3")
        site.environment.update(s3.environment)
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        site.move_to_bucket(s3.create_bucket())
    pictures = [draw(number) for number in range(5)]
    folder = site.folder / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"picture{number}.png"), picture)
    ran = penstock(
        "run", folder, "--op", "resize=90x70", "--op=split", "--op=blur=median", "--out", site.folder / "out"
    )
    assert ran.returncode == 0, ran.stderr
    expected = {path.name: path.read_bytes() for path in (site.folder / "out").glob("*.jpg")}
    images = site.upload(*pictures)
    for job, placement in {"fused": ["resize,split", "blur,encode"], "each": list(CHAIN_STEPS)}.items():
        workers = [site.start(steps) for steps in placement]
        site.send(CHAIN, images, job=job, results=f"results/{job}")
        assert {outcome.state for outcome in site.hear(5).values()} == {"done"}
        assert [finish(worker) for worker in workers] == [0] * len(workers)
        assert site.results(job) == expected
    assert len(expected) == 20


CHAIN_STEPS = ("resize", "split", "blur", "encode")


def test_a_drain_finishes_one_image_and_gives_back_everything_else(site: Site) -> None:
    worker = site.start("pause,encode,blur")
    for number in range(4):
        images = site.upload(*(draw(each) for each in range(4)))
        site.send([["pause", 0.1]], [each.model_copy(update={"id": 10 * number + each.id}) for each in images])
    site.hear_start()
    assert finish(worker) == 0
    site.start("pause,encode")
    ended = site.hear(16)
    assert set(ended) == {10 * number + each for number in range(4) for each in range(4)}
    assert {outcome.state for outcome in ended.values()} == {"done"}


def test_a_chunk_given_back_by_many_drains_is_never_blamed(site: Site) -> None:
    images = site.upload(draw(0), draw(1))
    site.send([["pause", 0.1]], images)
    holder = RabbitBroker(site.server.url, BrokerSettings())
    for _ in range(6):  # twice as many as starts are allowed
        consumer = holder.consume([step_queue("pause")], 2)
        assert consumer.get(SECS) is not None
        consumer.close()
    holder.close()
    site.start()
    assert {outcome.state for outcome in site.hear(2).values()} == {"done"}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_signal_leaves_at_once_and_what_was_begun_is_done_by_another(site: Site, processes: str) -> None:
    worker = site.start("all", "--concurrency", processes)
    site.send([["pause", 20.0]], site.upload(draw(0)))
    site.hear_start()
    worker.terminate()
    time.sleep(0.3)  # two signals at once would be one
    began = time.monotonic()
    assert finish(worker) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 15
    wait_until(lambda: site.broker.depth(step_queue("pause")).ready == 1)


def test_what_takes_longer_than_the_drain_may_is_left_to_another(site: Site) -> None:
    worker = site.start(PENSTOCK_DRAIN_SECS="0.5")
    site.send([["pause", 20.0]], site.upload(draw(0)))
    site.hear_start()
    assert finish(worker) == 128 + signal.SIGTERM
    wait_until(lambda: site.broker.depth(step_queue("pause")).ready == 1)


def test_an_image_that_kills_its_worker_ends_alone_and_the_others_are_done(site: Site) -> None:
    bad = np.full((24, 32, 3), CRASH, np.uint8)
    worker = site.start("all", "--concurrency", "2")
    site.send([["trip"]], site.upload(draw(0), bad, draw(2), draw(3)))
    ended = site.hear(4)
    assert [ended[number].state for number in range(4)] == ["done", "failed", "done", "done"]
    error = ended[1].error
    assert error is not None
    assert (error.code, error.step, ended[1].attempts) == ("step_crashed", "trip", 3)
    assert finish(worker) == 0


def test_a_worker_killed_amid_a_chunk_loses_nothing(site: Site) -> None:
    worker = site.start()
    site.send([["pause", 0.2]], site.upload(*(draw(number) for number in range(4))))
    site.hear_start()
    assert finish(worker, signal.SIGKILL) == -signal.SIGKILL
    site.start()
    ended = site.hear(4)
    assert {outcome.state for outcome in ended.values()} == {"done"}
    wait_until(lambda: all(site.broker.depth(step_queue(step)).ready == 0 for step in operations()))


def test_workers_wait_for_a_broker_that_starts_after_them_and_leave_when_told(site: Site) -> None:
    waiting = site.start(url="amqp://127.0.0.1:1")
    wait_until(lambda: "is unreachable" in (site.folder / "log").read_text())
    assert finish(waiting) == 0


def test_a_worker_outlives_its_broker(site: Site) -> None:
    site.start()
    site.send(CHAIN, site.upload(draw(0)))
    site.hear(1)
    site.server.stop()
    site.server.start()
    site.send(CHAIN, site.upload(draw(0), draw(1)))
    assert {outcome.state for outcome in site.hear(2).values()} == {"done"}


def test_a_worker_that_was_frozen_does_no_harm_to_what_another_has_done(site: Site) -> None:
    frozen = site.start("all", PENSTOCK_BROKER_HEARTBEAT_SECS="1")
    site.send([["pause", 0.5], ["blur", "median"]], site.upload(draw(0), draw(1), draw(2)))
    site.hear_start()
    frozen.send_signal(signal.SIGSTOP)
    site.start()
    first = site.hear(3)
    results = site.results()
    frozen.send_signal(signal.SIGCONT)
    assert {outcome.state for outcome in first.values()} == {"done"}
    assert finish(frozen) == 0
    assert site.results() == results
    wait_until(lambda: site.broker.depth(step_queue("pause")).ready == 0)


def test_the_file_of_a_worker_is_there_while_it_consumes_and_goes_with_it(
    site: Site, penstock: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    file = site.folder / "alive"
    more = {"PENSTOCK_LIVENESS_FILE": str(file), "PENSTOCK_CONCURRENCY": "2"}
    (site.folder / "alive-0").touch()  # as a container finds it that is started again
    (site.folder / "alive-1").touch()
    worker = site.start(url="amqp://127.0.0.1:1", **more)
    wait_until(lambda: "is unreachable" in (site.folder / "log").read_text())
    assert penstock("worker", "--alive", **more).returncode == 1, "it does not consume yet"
    assert finish(worker) == 0
    worker = site.start(**more)
    wait_until(lambda: len(list(site.folder.glob("alive-*"))) == 2)
    assert penstock("worker", "--alive", **more).returncode == 0
    assert site.server.count_consumers(step_queue("blur")) == 2
    worker.kill()
    worker.wait(SECS)
    wait_until(lambda: site.server.count_consumers(step_queue("blur")) == 0)  # its processes leave as well
    wait_until(lambda: not list(site.folder.glob("alive-*")))
    assert penstock("worker", "--alive", **more).returncode == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--steps", "resise"],
            "no step 'resise': it is not known; accepted are all, or some of resize,split,blur,encode",
        ),
        (["--store", "s3://b"], "no broker; --broker or PENSTOCK_BROKER_URL names it"),
        (["--broker", "amqp://h"], "no store; --store or PENSTOCK_STORE_URL names it"),
        (["--broker", "http://h", "--store", "file:///tmp"], "its scheme is 'http'"),
        (["--broker", "amqp://h", "--store", "ftp://h"], "accepted is one of file:///folder"),
        (["--alive"], "no liveness file; PENSTOCK_LIVENESS_FILE names it"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    penstock: Callable[..., subprocess.CompletedProcess[str]], options: list[str], said: str
) -> None:
    ran = penstock("worker", *options)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert said in ran.stderr
