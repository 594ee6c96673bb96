"""Workers over the memory broker and a folder, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.common.broker.base import ConfirmCallback
from penstock.common.broker.memory import MemoryBroker
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
from penstock.common.model.plan import make_plan
from penstock.common.registry import custom_steps, operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.worker.context import WorkerContext
from penstock.worker.image_sources import Sources
from penstock.worker.worker import Worker

PLUGINS = Path(__file__).parents[1] / "plugins"
SECS = 20.0
JOB = "job"
CHAIN = [["resize", "90x70"], ["split", True], ["blur", "median"]]
LIMITS = Limits()


class Broker(MemoryBroker):
    """A broker that can be away for whoever publishes. `refused` counts what was then."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused = 0

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:
        if self.away and confirm:
            self.refused += 1
            raise UnavailableError("broker", "away")
        super().publish(queue, bodies, confirm=confirm)

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        if self.away:
            self.refused += 1
            raise UnavailableError("broker", "away")
        super().publish_then(messages, on_confirm)


class Rig:
    """A broker, a store, and as many workers as a test starts."""

    def __init__(self, folder: Path, reader: Executor | None) -> None:
        self.folder = folder
        self._reader = reader
        self.store = LocalStore(folder / "store")
        self.broker = Broker()
        self.broker.declare([EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in operations())])
        self._events = self.broker.consume([EVENTS_QUEUE], 100_000)
        self.seen: list[Event] = []
        self.benches: list[WorkerContext] = []
        self._workers: list[tuple[Worker, threading.Thread]] = []

    def start(self, *steps: str, max_pixels_in_flight: int = 10**8, **settings: Any) -> None:
        """Start a worker that serves some steps, all if none is named."""
        bench = WorkerContext(
            name=f"worker-{len(self._workers)}",
            store=self.store,
            broker=self.broker,
            sources=Sources(self.store, LIMITS, self.folder),
            limits=LIMITS,
            served=frozenset(steps or operations()),
            max_pixels_in_flight=max_pixels_in_flight,
            reader=self._reader,
        )
        self.benches.append(bench)
        settings = {"cancel_lookup_secs": 0.05, **settings}
        worker = Worker(bench, WorkerSettings(**settings), overlap=self._reader is not None)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        self._workers.append((worker, thread))

    def stop(self) -> None:
        """Let every worker leave."""
        for worker, _ in self._workers:
            worker.stop()
        for _, thread in self._workers:
            thread.join(SECS)
            assert not thread.is_alive()
        self._workers = []

    def upload(self, *pictures: np.ndarray | bytes) -> list[ImageRef]:
        """Put pictures into the store and return references to them."""
        images = []
        for number, picture in enumerate(pictures):
            data = picture if isinstance(picture, bytes) else cv2.imencode(".png", picture)[1].tobytes()
            self.store.put(f"uploads/u/{number}", [data])
            images.append(ImageRef(id=number, stem=f"picture{number}", ref=f"uploads/u/{number}"))
        return images

    def chunk(self, ops: list[Any], images: list[ImageRef], **more: Any) -> Chunk:
        """Return a chunk of some images at the beginning of a plan."""
        plan = make_plan(ops, None, LIMITS).document()
        given = {"job": JOB, "chunk": "0-abc", "plan": plan, "images": images, "results": "results/job", **more}
        return Chunk(**given)

    def send(self, chunk: Chunk) -> None:
        """Put a chunk into the queue of its step."""
        self.broker.publish(step_queue(chunk.plan[chunk.step]["op"]), [chunk.model_dump_json().encode()])

    def send_as_from_the_dead(self, chunk: Chunk) -> None:
        """Put a chunk into its queue that a worker died over."""
        doomed = self.broker.consume([step_queue(chunk.plan[chunk.step]["op"])], 1)
        self.send(chunk)
        assert doomed.get(SECS) is not None
        doomed.lose()

    def outcomes(self, count: int) -> dict[int, Outcome]:
        """Wait until so many images have ended, and return how."""
        found: dict[int, Outcome] = {}
        deadline = time.monotonic() + SECS
        while len(found) < count:
            for event in self.hear(deadline):
                found.update({outcome.id: outcome for outcome in event.outcomes})
        return found

    def hear(self, deadline: float) -> list[Event]:
        """Return the events of the next message, and remember them."""
        delivery = self._events.get(max(0.0, deadline - time.monotonic()))
        assert delivery is not None, f"after {self.seen} nothing more came"
        self._events.ack(delivery)
        events = read_events(delivery.body)
        self.seen += events
        return events

    def idle(self) -> bool:
        """Whether every step's queue is empty and every chunk acknowledged."""
        depths = [self.broker.depth(step_queue(step)) for step in operations()]
        return not any(depth.ready or depth.in_flight for depth in depths)

    def files(self, outcome: Outcome) -> list[bytes]:
        return [self.store.get(result.key) for result in outcome.results]


@pytest.fixture(params=["one after the other", "overlapping"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.syspath_prepend(PLUGINS)
    custom_steps.cache_clear()
    with ThreadPoolExecutor(2) as pool:
        rig = Rig(tmp_path, pool if request.param == "overlapping" else None)
        yield rig
        rig.stop()
    custom_steps.cache_clear()


def draw(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    random = np.random.default_rng(number)
    picture = random.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


def by_hand(picture: np.ndarray) -> list[bytes]:
    """`CHAIN` as somebody would write it with OpenCV."""
    small = cv2.resize(picture, (90, 70), interpolation=cv2.INTER_AREA)
    quadrants = [small[:35, :45], small[:35, 45:], small[35:, :45], small[35:, 45:]]
    return [
        cv2.imencode(".jpg", cv2.medianBlur(part, 5), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for part in quadrants
    ]
