"""Feeds the queues: takes pending images of open jobs in turn, a bounded window of each, and sends them as chunks."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.common.broker.base import Broker
from penstock.common.model.chunking import fit_chunk
from penstock.common.model.errors import ImageCode, UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, Event, Failure, ImageRef, Outcome, step_queue
from penstock.common.registry import operations
from penstock.common.store.base import Store
from penstock.common.store.keys import plan_key, results_prefix
from penstock.common.tracing.base import NO_TRACING, Trace, Tracing
from penstock.coordinator.ports.repository import Image, Job, Repository
from penstock.coordinator.scheduling.fair_share import FairShare
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.worker_counts import WorkerCounts

log = logging.getLogger(__name__)

_MAX_INLINE_PLAN_BYTES = 1_500
_MAX_IMAGES_BYTES = 2_000
_WINDOW_SECS = 0.12
"""Work that each worker has before it: enough for the time from an outcome to the next message, some 50 ms."""
_RETRY_SECS = 1.0


@dataclass(frozen=True)
class DispatchSettings:
    """Each worker may have up to `window_images` images of a job under way, in chunks of at most `max_chunk`.

    A step's workers are counted at its queue, all workers by their events; `workers` is how many each step has at
    least, and `processes` how many there are at least. It looks for work every `poll_secs` as well: what other
    coordinators accepted, and what was written though the answer of the database was lost, nobody wakes it for.
    `weights` are the owners', 1 unless given.
    """

    workers: int = 1
    processes: int = 1
    window_images: int = 32
    max_chunk: int = 8
    poll_secs: float = 2.0
    weights: Mapping[str, int] = field(default_factory=dict)


class Dispatcher:
    """One thread. `wake` makes it look for work now."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        broker: Broker,
        live: InFlight,
        settings: DispatchSettings,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._repository = repository
        self._store = store
        self._broker = broker
        self._live = live
        self._settings = settings
        self._tracing = tracing
        self._fleet = WorkerCounts(broker, settings.workers)
        self._shares = FairShare(live, settings.weights)
        self._windows: dict[str, int] = {}
        self._served: dict[str, float] = {}
        """Where the weighted round-robin of an owner's jobs stands: how many images each has had, by its weight."""
        self._unsent: dict[str, list[bytes]] = {}
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread, which looks for work at once."""
        self._wanted.set()
        self._thread.start()

    def wake(self) -> None:
        """Look for work now."""
        self._wanted.set()

    def stop(self) -> None:
        """End the thread after what it is sending."""
        self._stopping = True
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.wait(self._settings.poll_secs)
            self._wanted.clear()
            if self._stopping:
                return
            try:
                while self.fill():
                    pass
            except UnavailableError as error:
                log.warning("dispatch waits: %s", error.message)
                self._pause()
            except Exception:
                log.exception("dispatch failed; trying again")
                self._pause()

    def _pause(self) -> None:
        time.sleep(_RETRY_SECS)
        self._wanted.set()

    def fill(self) -> int:
        """Send one round of chunks; return how many images that were (0: every window is full, or nothing pends)."""
        self._flush()
        jobs = self._repository.dispatchable()
        top = [job for job in jobs if job.priority == jobs[0].priority]
        self._served = self._line_up(jobs)
        sizes = {job.id: self._measure(job) for job in top}
        self._windows = {job.id: self._windows.get(job.id, 0) for job in jobs} | {
            job: window for job, (_, window) in sizes.items()
        }
        split = self._shares.split([(job, self._windows[job.id]) for job in top])
        sent = 0
        for job in sorted(top, key=lambda job: self._served[job.id]):
            count = self._send(job, sizes[job.id][0], split.room(job.id))
            split.take(job.id, count)
            self._served[job.id] += count / job.weight
            sent += count
        self._live.meters.window_images = sum(self._windows.values())
        return sent

    def _line_up(self, jobs: Sequence[Job]) -> dict[str, float]:
        """Return what jobs have had; one that comes late does not make up for what its owner's others had before."""
        floors: dict[str, float] = {}
        for job in jobs:
            if job.id in self._served:
                floors[job.owner] = min(self._served[job.id], floors.get(job.owner, math.inf))
        return {job.id: max(self._served.get(job.id, 0.0), floors.get(job.owner, 0.0)) for job in jobs}

    def _measure(self, job: Job) -> tuple[int, int]:
        """Return the images of a message of a job, and how many it may have under way if it is alone."""
        steps = [step for step in job.plan.steps if step in operations()]
        workers = max((self._fleet.workers(step) for step in steps), default=1)
        size = self._chunk_size(job, workers)
        return size, self._window(job, size) * max(self._settings.processes, workers, self._live.workers())

    def _send(self, job: Job, size: int, room: int) -> int:
        """Send as much of a job as there is room for, `size` images a message."""
        if not room:
            return 0
        plan = self._plan(job)
        images = self._repository.take_pending(job.id, room)
        if not images:
            return 0
        self._live.dispatched(job, ((image.id, image.resume_step) for image in images))
        traces = [self._prepare(chunk, job.plan.steps[chunk.step]) for chunk in self._chunks(job, images, size, plan)]
        try:
            self._flush()
        finally:
            for trace in traces:
                trace.end()
        return len(images)

    def _prepare(self, chunk: Chunk, step: str) -> Trace:
        """Put a chunk among those to be published; return its dispatch's trace."""
        trace = self._tracing.start_trace(
            f"dispatch {step}", job=chunk.job, chunk=chunk.chunk, step=step, images=len(chunk.images)
        )
        if step in operations():
            log.debug("%d images", len(chunk.images), extra={"job": chunk.job, "step": step, "chunk": chunk.chunk})
            chunk.traceparent = trace.traceparent
            self._live.meters.count_dispatched(step, len(chunk.images))
            self._unsent.setdefault(step_queue(step), []).append(chunk.model_dump_json().encode())
        else:
            self._unsent.setdefault(EVENTS_QUEUE, []).append(_refusal(chunk, step))
        return trace

    def _flush(self) -> None:
        """Publish what was taken from the database; it stays at hand while the broker is away."""
        while self._unsent:
            queue = next(iter(self._unsent))
            self._broker.publish(queue, self._unsent[queue])
            del self._unsent[queue]

    def _window(self, job: Job, size: int) -> int:
        """Return the images of a job that may be under way for each worker: a chunk in hand and one more, at least.

        Quick images need more, or workers would wait for the next ones to be sent. More than that makes every job that
        comes later wait longer, since what is queued goes first.
        """
        secs = sum(self._secs_per_image(job))
        fit = 4 * size if not secs else math.ceil(_WINDOW_SECS / secs)
        return max(2 * size, min(self._settings.window_images, fit))

    def _secs_per_image(self, job: Job) -> list[float]:
        """Return the work of one image in each operation of a job; 0 where none was measured yet."""
        return [secs or 0.0 for secs in self._live.seconds_of(job.plan)]

    def _chunk_size(self, job: Job, workers: int) -> int:
        """Return the images a message: one until every worker is busy, then as many as keep a worker for a moment."""
        if job.chunk_size is not None:
            return job.chunk_size
        if self._live.under_way() + job.pending <= workers:
            return 1
        fit = fit_chunk(max(self._secs_per_image(job)), self._settings.max_chunk)
        share = -(-(self._live.under_way(job.id) + job.pending) // (2 * workers))
        return max(1, min(fit, share))

    def _plan(self, job: Job) -> list[dict[str, object]] | str:
        """Return the plan as messages carry it: itself, or the key of an object when it is long."""
        plan = job.plan.document()
        text = json.dumps(plan).encode()
        if len(text) <= _MAX_INLINE_PLAN_BYTES:
            return plan
        key = plan_key(job.id)
        if self._store.size(key) is None:
            self._store.put(key, [text])
        return key

    def _chunks(
        self, job: Job, images: Sequence[Image], size: int, plan: list[dict[str, object]] | str
    ) -> Iterator[Chunk]:
        fresh = [image for image in images if not image.resume_blob]
        for group in _groups(fresh, size):
            yield self._chunk(job, group, plan)
        for image in images:
            if image.resume_blob:
                chunk = self._chunk(job, [image], plan)
                chunk.step, chunk.blob = image.resume_step, image.resume_blob
                chunk.images[0].parts = image.resume_parts
                yield chunk

    def _chunk(self, job: Job, images: Sequence[Image], plan: list[dict[str, object]] | str) -> Chunk:
        return Chunk(
            job=job.id,
            run=job.run,
            chunk=_chunk_name(images),
            plan=plan,
            images=[ImageRef(id=image.id, stem=image.stem, ref=image.ref) for image in images],
            results=results_prefix(job.id, job.document.get("results")),
            enqueued_at=time.time(),
        )


def _refusal(chunk: Chunk, step: str) -> bytes:
    """Return the event that fails a chunk for which there are no workers: its step is installed no more."""
    message = f"no step {step!r} is installed here"
    failure = Failure(code=ImageCode.INTERNAL, message=message, step=step, retry=True, step_index=chunk.step)
    outcomes = [Outcome(id=image.id, state="failed", error=failure) for image in chunk.images]
    event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
    return event.model_dump_json().encode()


def _groups(images: Sequence[Image], size: int) -> Iterator[list[Image]]:
    """Yield neighbours in groups of at most `size`, fewer where long names would make the message too large."""
    group: list[Image] = []
    group_bytes = 0
    for image in images:
        image_bytes = len(image.stem.encode()) + len(image.ref)
        if group and (len(group) == size or group_bytes + image_bytes > _MAX_IMAGES_BYTES):
            yield group
            group, group_bytes = [], 0
        group.append(image)
        group_bytes += image_bytes
    if group:
        yield group


def _chunk_name(images: Sequence[Image]) -> str:
    """Return a name that follows from the images, so that the same images sent again use the same objects."""
    ids = ",".join(str(image.id) for image in images)
    return f"{images[0].id}-{hashlib.blake2b(ids.encode(), digest_size=6).hexdigest()}"
