"""Workers in this process, over the memory broker and a store in a folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.common.broker.base import ConfirmCallback
from penstock.common.broker.memory import MemoryBroker
from penstock.common.input_root import InputRoot
from penstock.common.model.errors import UnavailableError
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
from penstock.common.model.plan import make_plan, plan_of
from penstock.common.registry import custom_steps, operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.memory import WorkerMemory
from penstock.worker.worker import Worker, build_worker

PLUGINS = Path(__file__).parents[1] / "plugins"
SECS = 20.0
JOB = "job"
CHAIN = [["resize", "90x70"], ["split", True], ["blur", "median"]]
LIMITS = Limits()


class FlakyBroker(MemoryBroker):
    """A broker that refuses messages that want a confirm while `unreachable` is set; `refused` counts those."""

    def __init__(self) -> None:
        super().__init__()
        self.unreachable = False
        self.refused = 0

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        if self.unreachable and confirm:
            self.refused += 1
            raise UnavailableError("broker", "unreachable")
        super().publish(queue, bodies, confirm=confirm)

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        if self.unreachable:
            self.refused += 1
            raise UnavailableError("broker", "unreachable")
        super().publish_then(messages, on_confirm)


class WorkerFixture:
    """A broker, a store, and as many workers as a test starts."""

    def __init__(self, folder: Path, *, overlap: bool) -> None:
        self.folder = folder
        self._overlap = overlap
        self.store = LocalStore(folder / "store")
        self.broker = FlakyBroker()
        self.broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])
        self._events = self.broker.consume([EVENTS_QUEUE], 100_000)
        self.seen: list[Event] = []
        self.workers: list[Worker] = []
        self._threads: list[threading.Thread] = []

    def make(self, *steps: str, memory: WorkerMemory | None = None, **settings: Any) -> Worker:
        """Return a worker that serves some steps, all if none is named."""
        return build_worker(
            f"worker-{len(self.workers)}",
            steps or operations(),
            self.store,
            self.broker,
            InProcessExecutor(LIMITS, memory),
            LIMITS,
            WorkerSettings(**{"cancel_lookup_secs": 0.05, **settings}),
            input_root=InputRoot(self.folder),
            memory=memory,
            overlap=self._overlap,
            requeue_secs=0.02,
        )

    def start(self, *steps: str, **settings: Any) -> Worker:
        """Start a worker on a thread."""
        worker = self.make(*steps, **settings)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        self.workers.append(worker)
        self._threads.append(thread)
        return worker

    def stop(self) -> None:
        """Drain every worker."""
        for worker in self.workers:
            worker.stop()
        for thread in self._threads:
            thread.join(SECS)
            assert not thread.is_alive()
        self.workers, self._threads = [], []

    def upload(self, *images: np.ndarray | bytes) -> list[ImageRef]:
        """Put images into the store and return references to them."""
        references = []
        for number, image in enumerate(images):
            data = image if isinstance(image, bytes) else cv2.imencode(".png", image)[1].tobytes()
            self.store.put(f"uploads/u/{number}", [data])
            references.append(ImageRef(id=number, stem=f"image{number}", ref=f"uploads/u/{number}"))
        return references

    def chunk(self, ops: list[Any], images: list[ImageRef], **changes: Any) -> Chunk:
        """Return a chunk of some images at the beginning of a plan."""
        plan = make_plan(ops, None, LIMITS).document()
        fields = {"job": JOB, "chunk": "0-abc", "plan": plan, "images": images, "results": "results/job", **changes}
        return Chunk(**fields)

    def send(self, chunk: Chunk) -> bytes:
        """Publish a chunk to the queue of its step; return the message."""
        message = chunk.model_dump_json().encode()
        self.broker.publish(step_queue(plan_of(chunk.plan).steps[chunk.step]), [message])
        return message

    def send_redelivered(self, chunk: Chunk) -> bytes:
        """Publish a chunk, and lose a consumer that holds it, as if a worker had died; return the message."""
        lost = self.broker.consume([step_queue(plan_of(chunk.plan).steps[chunk.step])], 1)
        message = self.send(chunk)
        assert lost.get(SECS) is not None
        lost.close(lost=True)
        return message

    def wait_for_outcomes(self, count: int) -> dict[int, Outcome]:
        """Wait until so many images have ended, and return their outcomes by image."""
        found: dict[int, Outcome] = {}
        deadline = time.monotonic() + SECS
        while len(found) < count:
            for event in self.next_events(deadline):
                found.update({outcome.id: outcome for outcome in event.outcomes})
        return found

    def next_events(self, deadline: float) -> list[Event]:
        """Return the events of the next message."""
        delivery = self._events.get(max(0.0, deadline - time.monotonic()))
        assert delivery is not None, f"no event came after {self.seen}"
        self._events.ack(delivery)
        events = read_events(delivery.body)
        self.seen += events
        return events

    def is_idle(self) -> bool:
        """Whether every step's queue is empty and every chunk acknowledged."""
        depths = [self.broker.depth(step_queue(step)) for step in operations()]
        return not any(depth.ready or depth.in_flight for depth in depths)

    def results(self, outcome: Outcome) -> list[bytes]:
        return [self.store.get(result.key) for result in outcome.results]


@pytest.fixture(params=["sequential", "overlapping"])
def workers(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerFixture]:
    monkeypatch.syspath_prepend(PLUGINS)
    custom_steps.cache_clear()
    workers = WorkerFixture(tmp_path, overlap=request.param == "overlapping")
    yield workers
    workers.stop()
    custom_steps.cache_clear()


def draw(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    random = np.random.default_rng(number)
    pixels = random.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)


def expected_results(image: np.ndarray) -> list[bytes]:
    """What `CHAIN` makes of an image, by OpenCV alone."""
    small = cv2.resize(image, (90, 70), interpolation=cv2.INTER_AREA)
    quadrants = [small[:35, :45], small[:35, 45:], small[35:, :45], small[35:, 45:]]
    return [
        cv2.imencode(".jpg", cv2.medianBlur(part, 5), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for part in quadrants
    ]
