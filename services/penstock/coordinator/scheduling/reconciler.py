"""Puts right what was lost: sends images again that nobody has any more, and sweeps up what crashes left.

The database is the truth. An image that it has under way, and of which there has been no sign of life for longer than
its turn could take, is taken for lost with its message (a queue was purged, a broker came back empty, an event was
dropped, a coordinator died between taking and sending) and sent again. Where it was not lost after all, work is done
twice and seen once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass

from penstock.common.broker.base import Broker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, step_queue
from penstock.common.registry import operations
from penstock.common.settings import CoordinatorSettings, WorkerSettings
from penstock.common.store.base import Store
from penstock.coordinator.ports.repository import Job, Repository
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector
from penstock.coordinator.scheduling.in_flight import InFlight, Position

log = logging.getLogger(__name__)

_TICK_SECS = 1.0
_MAX_LOOKS = 4
"""How often within `repair_secs` it looks for what was lost."""
_MAX_DOUBLINGS = 8
_CHUNKS_BEFORE = 3
"""A worker has one chunk in hand and may hold two more, which wait though their queue is empty."""


@dataclass(frozen=True)
class ReconcilerSettings:
    """See `CoordinatorSettings` and `WorkerSettings`. With `tells` the status is put for other coordinators to read."""

    repair_secs: float = 30.0
    step_timeout_secs: float = 60.0
    max_chunk: int = 8
    sweep_secs: float = 60.0
    abandoned_secs: float = 86_400.0
    tells: bool = False

    @classmethod
    def of(
        cls, settings: CoordinatorSettings, worker_settings: WorkerSettings, *, tells: bool = False
    ) -> ReconcilerSettings:
        """Return the housekeeper's share of a coordinator's settings."""
        return cls(
            repair_secs=settings.repair_secs,
            step_timeout_secs=worker_settings.step_timeout_secs,
            max_chunk=settings.max_chunk,
            sweep_secs=settings.sweep_secs,
            abandoned_secs=settings.abandoned_secs,
            tells=tells,
        )


@dataclass
class _Queue:
    """What was last seen of a step's queue. An image is not late while its message could not come to its turn.

    A step may have had no worker for hours. When one comes, what it takes first has waited long, and is not lost.
    """

    empty: bool = True
    filled_at: float = 0.0
    """When messages were last seen in it."""
    idle_at: float = 0.0
    """When it was last seen without a consumer."""


_UNKNOWN = _Queue()


class Reconciler:
    """One thread, while this coordinator leads. `wake` is called once there is something to dispatch again."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        broker: Broker,
        live: InFlight,
        settings: ReconcilerSettings,
        wake: Callable[[], None],
    ) -> None:
        self._repository = repository
        self._broker = broker
        self._live = live
        self._settings = settings
        self._wake = wake
        self._sweeper = GarbageCollector(repository, store, settings.abandoned_secs)
        self._repairs: dict[str, Counter[int]] = {}
        """How often each image of a job was sent again: the next time it is waited for twice as long."""
        self._strange: dict[str, Set[int]] = {}
        """The images of a job that the database had under way at the last look, and nobody here knew of."""
        self._queues = {step: _Queue() for step in operations()}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        look_secs = max(min(_TICK_SECS, self._settings.repair_secs), self._settings.repair_secs / _MAX_LOOKS)
        looks_at, sweeps_at = time.monotonic() + look_secs, time.monotonic() + self._settings.sweep_secs
        while not self._stopping.wait(min(_TICK_SECS, look_secs)):
            now = time.monotonic()
            if self._settings.tells:
                self._try(self.tell)
            if now >= looks_at:
                self._try(self.repair)
                looks_at = time.monotonic() + look_secs
            if now >= sweeps_at:
                self._try(self._sweeper.sweep)
                sweeps_at = time.monotonic() + self._settings.sweep_secs

    def _try(self, duty: Callable[[], object]) -> None:
        try:
            duty()
        except UnavailableError as error:
            log.warning("left for later: %s", error.message)
        except Exception:
            log.exception("housekeeping failed; trying again")

    def tell(self) -> None:
        """Put the status for the coordinators that follow this one."""
        self._repository.put_status(self._live.tell())

    def repair(self) -> int:
        """Send again what was lost; return how many images that were."""
        self._look_at_queues()
        if self._broker.depth(EVENTS_QUEUE).ready:
            return 0  # signs of life wait to be read
        known = self._live.known()
        jobs = {job.id: job for job in self._repository.open_jobs()}
        for name, run in known:
            if name not in jobs:
                self._live.forget(name, run)
        self._repairs = {name: repairs for name, repairs in self._repairs.items() if name in jobs}
        self._strange = {name: images for name, images in self._strange.items() if name in jobs}
        return sum(self._repair(job) for job in jobs.values())

    def _look_at_queues(self) -> None:
        """Note which queues are empty, and until when they were not, or nobody took from them."""
        now = time.monotonic()
        for step, queue in self._queues.items():
            depth = self._broker.depth(step_queue(step))
            queue.empty = depth.ready == 0
            if depth.ready:
                queue.filled_at = now
            if not depth.consumers:
                queue.idle_at = now

    def _repair(self, job: Job) -> int:
        self._adopt(job)
        repairs = self._repairs.setdefault(job.id, Counter())
        waiting_secs, running_secs = self._patience(job)
        now = time.monotonic()

        def is_lost(image: int, step: str, at: Position, reached: float) -> bool:
            patience: float = (running_secs if at.running else waiting_secs) * 2 ** min(repairs[image], _MAX_DOUBLINGS)
            if at.running:
                return now - at.since > patience
            queue = self._queues.get(step, _UNKNOWN)
            gone = queue.empty and now - max(at.since, queue.filled_at) > patience
            passed_by = at.since + self._settings.repair_secs < reached
            return gone or (passed_by and now - max(at.since, queue.idle_at) > patience)

        lost = self._live.select(job.id, is_lost)
        if not lost:
            return 0
        self._live.drop(job.id, lost)
        sent = self._repository.requeue_in_flight(job.id, lost)
        repairs.update(lost)
        if sent:
            self._live.meters.count_repaired(sent)
            log.warning(
                "%d images of job %s gave no sign of life and are sent again", sent, job.id, extra={"job": job.id}
            )
            self._wake()
        return sent

    def _adopt(self, job: Job) -> None:
        """Follow images that nobody here knew of at two looks: what has just ended is forgotten here before it is noted
        in the database, and would count as under way for a long time, in the place of images that wait to be sent.
        """
        strange: dict[int, int] = {}
        under_way = job.queued + job.running
        if under_way > self._live.under_way(job.id):
            known = set(self._live.select(job.id, lambda *_: True))
            found = self._repository.in_flight(job.id, under_way)
            strange = {image.id: image.resume_step for image in found if image.id not in known}
        before = self._strange.get(job.id, frozenset())
        self._live.adopt(job, [(image, step) for image, step in strange.items() if image in before])
        self._strange[job.id] = strange.keys()

    def _patience(self, job: Job) -> tuple[float, float]:
        """Return for how many seconds nothing need be heard of an image that waits, and of one that is worked on."""
        steps = self._live.seconds_of(job.plan)
        chunk_secs = sum(secs or 0.0 for secs in steps) * (job.chunk_size or self._settings.max_chunk)
        running_secs = self._settings.repair_secs + self._settings.step_timeout_secs + chunk_secs
        if None in steps:
            return running_secs, running_secs
        return self._settings.repair_secs + chunk_secs * _CHUNKS_BEFORE, running_secs
