"""Dispatcher: publishes chunks of pending images to their first step's queue, within windows and fair shares."""

import hashlib
import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.common.broker.base import Broker
from penstock.common.model.errors import ImageCode, UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, Event, Failure, ImageRef, Outcome, fit_chunk, step_queue
from penstock.common.model.result_names import PARTS
from penstock.common.registry import operations
from penstock.common.sidecars import stored_regions
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
"""Work that each worker should have queued: enough for the time from an outcome to the next message, some 50 ms."""
_RETRY_SECS = 1.0


@dataclass(frozen=True)
class DispatchSettings:
    """Limits of dispatch. `workers` (per step) and `processes` (in all) are minimums; more are counted when seen."""

    workers: int = 1
    processes: int = 1
    window_images: int = 32
    """Images of one job in flight per worker, at most."""
    max_chunk: int = 8
    poll_secs: float = 2.0
    """How often to look without being woken, for jobs of other coordinators and for commits whose response was lost."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Owners' weights; 1 for those not given."""


class Dispatcher:
    """One thread. `wake` makes it look for work now."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        broker: Broker,
        in_flight: InFlight,
        settings: DispatchSettings,
        tracing: Tracing = NO_TRACING,
        *,
        fair_share: FairShare | None = None,
        retry_secs: float = _RETRY_SECS,
    ) -> None:
        self._repository = repository
        self._store = store
        self._broker = broker
        self._in_flight = in_flight
        self._settings = settings
        self._tracing = tracing
        self._retry_secs = retry_secs
        self._worker_counts = WorkerCounts(broker)
        self._fair_share = fair_share or FairShare(in_flight, settings.weights)
        self._windows: dict[str, int] = {}
        self._served: dict[str, float] = {}
        """Weighted round-robin of an owner's jobs: images dispatched so far, divided by the job's weight."""
        self._unsent: dict[str, list[bytes]] = {}
        self._left = 0
        """Images that the last round left pending; adding some wakes the dispatcher."""
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._wanted.set()
        self._thread.start()

    def wake(self) -> None:
        """Look for work now."""
        self._wanted.set()

    def stop(self) -> None:
        """Stop the thread after the round in progress."""
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
                while self.dispatch_round() and self._left:
                    pass
            except UnavailableError as error:
                log.warning("dispatch delayed: %s", error.message)
                self._retry_later()
            except Exception:
                log.exception("dispatch delayed: unexpected error")
                self._retry_later()

    def _retry_later(self) -> None:
        time.sleep(self._retry_secs)
        self._wanted.set()

    def dispatch_round(self) -> int:
        """Publish one round of chunks; return the number of images, 0 if all windows are full or nothing is pending."""
        self._publish_unsent()
        jobs = self._repository.dispatchable()
        first = [job for job in jobs if job.priority == jobs[0].priority]
        self._served = self._carry_over_served(jobs)
        sizes = {job.id: self._chunk_size_and_window(job) for job in first}
        self._windows = {job.id: self._windows.get(job.id, 0) for job in jobs} | {
            job: window for job, (_, window) in sizes.items()
        }
        allowances = self._fair_share.allocate([(job, self._windows[job.id]) for job in first])
        dispatched = 0
        for job in sorted(first, key=lambda job: self._served[job.id]):
            count, traces = self._take_chunks(job, sizes[job.id][0], allowances[job.id].free)
            try:
                self._publish_unsent()
            finally:
                for trace in traces:
                    trace.end()
            allowances[job.id].use(count)
            self._served[job.id] += count / job.weight
            dispatched += count
        self._left = sum(job.pending for job in jobs) - dispatched
        self._in_flight.counters.window_images = sum(self._windows.values())
        return dispatched

    def _carry_over_served(self, jobs: Sequence[Job]) -> dict[str, float]:
        """Return how much each job was served. A new job starts at its owner's lowest, or it would go first."""
        minimums: dict[str, float] = {}
        for job in jobs:
            if job.id in self._served:
                minimums[job.owner] = min(self._served[job.id], minimums.get(job.owner, math.inf))
        return {job.id: max(self._served.get(job.id, 0.0), minimums.get(job.owner, 0.0)) for job in jobs}

    def _chunk_size_and_window(self, job: Job) -> tuple[int, int]:
        """Return the images per chunk of a job, and its images in flight if it is alone."""
        steps = [step for step in job.plan.steps if step in operations()]
        workers = max(self._settings.workers, *(self._worker_counts.count(step) for step in steps), 1)
        size = self._chunk_size(job, workers)
        per_worker = self._window_per_worker(job, size)
        return size, per_worker * max(self._settings.processes, workers, self._in_flight.count_workers())

    def _chunk_size(self, job: Job, workers: int) -> int:
        """Return 1 until every worker is busy, then as many images as keep a worker busy for a moment."""
        if job.chunk_size is not None:
            return job.chunk_size
        if self._in_flight.count() + job.pending <= workers:
            return 1
        fit = fit_chunk(max(self._service_times(job)), self._settings.max_chunk)
        share = -(-(self._in_flight.count(job.id) + job.pending) // (2 * workers))
        return max(1, min(fit, share))

    def _window_per_worker(self, job: Job, size: int) -> int:
        """Return the images of a job in flight per worker: at least one chunk being processed and one waiting.

        Fast images need more, or workers would wait for the next ones. Larger windows would delay jobs that come later,
        because what is queued goes first.
        """
        secs = sum(self._service_times(job))
        fit = 4 * size if not secs else math.ceil(_WINDOW_SECS / secs)
        return max(2 * size, min(self._settings.window_images, fit))

    def _service_times(self, job: Job) -> list[float]:
        """Return the seconds per image in each operation of a job; 0 where not measured."""
        return [secs or 0.0 for secs in self._in_flight.service_times(job.plan)]

    def _take_chunks(self, job: Job, size: int, limit: int) -> tuple[int, list[Trace]]:
        """Take up to `limit` images of a job and add them to the unsent messages; return their number and traces."""
        if not limit:
            return 0, []
        plan = self._plan_or_key(job)
        images = self._repository.take_pending(job.id, limit)
        if not images:
            return 0, []
        self._in_flight.add_dispatched(job, ((image.id, image.resume_step) for image in images))
        chunks = _chunks(job, images, size, plan)
        return len(images), [self._queue_chunk(chunk, job.plan.steps[chunk.step]) for chunk in chunks]

    def _plan_or_key(self, job: Job) -> list[dict[str, Any]] | str:
        """Return what chunks carry of the plan: itself, or the key of a stored object if it is long."""
        plan = job.plan.operations
        text = json.dumps(plan).encode()
        if len(text) <= _MAX_INLINE_PLAN_BYTES:
            return plan
        key = plan_key(job.id)
        if self._store.size(key) is None:
            self._store.put(key, [text])
        return key

    def _queue_chunk(self, chunk: Chunk, step: str) -> Trace:
        """Add a chunk to the unsent messages; return the trace of its dispatch."""
        trace = self._tracing.start_trace(
            f"dispatch {step}", job=chunk.job, chunk=chunk.chunk, step=step, images=len(chunk.images)
        )
        if step in operations():
            log.debug(
                "dispatching %d images", len(chunk.images), extra={"job": chunk.job, "step": step, "chunk": chunk.chunk}
            )
            chunk.traceparent = trace.traceparent
            self._in_flight.counters.count_dispatched(step, len(chunk.images))
            self._unsent.setdefault(step_queue(step), []).append(chunk.model_dump_json().encode())
        else:
            self._unsent.setdefault(EVENTS_QUEUE, []).append(_missing_step_event(chunk, step))
        return trace

    def _publish_unsent(self) -> None:
        """Publish queued messages. They are kept while the broker is unreachable, because their images are taken."""
        while self._unsent:
            queue = next(iter(self._unsent))
            self._broker.publish(queue, self._unsent[queue])
            del self._unsent[queue]


def _chunks(job: Job, images: Sequence[Image], size: int, plan: list[dict[str, Any]] | str) -> Iterator[Chunk]:
    """Yield the chunks of a job's images; each image that resumes from an intermediate is a chunk of its own."""
    for group in _groups([image for image in images if not image.resume_blob], size):
        yield _chunk(job, group, plan)
    for image in images:
        if image.resume_blob:
            chunk = _chunk(job, [image], plan)
            chunk.step, chunk.blob = image.resume_step, image.resume_blob
            chunk.images[0].parts = image.resume_parts
            yield chunk


def _chunk(job: Job, images: Sequence[Image], plan: list[dict[str, Any]] | str) -> Chunk:
    return Chunk(
        job=job.id,
        run=job.run,
        chunk=_chunk_name(images),
        plan=plan,
        images=[_image_ref(image) for image in images],
        results=results_prefix(job.id, job.document.get("results")),
        names=job.document.get("names", PARTS),
        enqueued_at=time.time(),
    )


def _image_ref(image: Image) -> ImageRef:
    if image.regions is None:
        return ImageRef(id=image.id, stem=image.stem, ref=image.ref)
    regions = stored_regions(image.regions)
    return ImageRef(id=image.id, stem=image.stem, ref=image.ref, regions=regions)


def _groups(images: Sequence[Image], size: int) -> Iterator[list[Image]]:
    """Yield consecutive images in groups of at most `size`, fewer if names or regions make the message too large."""
    group: list[Image] = []
    group_bytes = 0
    for image in images:
        image_bytes = len(image.stem.encode()) + len(image.ref) + len(image.regions or "")
        if group and (len(group) == size or group_bytes + image_bytes > _MAX_IMAGES_BYTES):
            yield group
            group, group_bytes = [], 0
        group.append(image)
        group_bytes += image_bytes
    if group:
        yield group


def _chunk_name(images: Sequence[Image]) -> str:
    """Return a name derived from the images, so that the same images dispatched again use the same stored objects."""
    ids = ",".join(str(image.id) for image in images)
    return f"{images[0].id}-{hashlib.blake2b(ids.encode(), digest_size=6).hexdigest()}"


def _missing_step_event(chunk: Chunk, step: str) -> bytes:
    """Return an event that fails a chunk whose step is no longer installed."""
    message = f"no step {step!r} is installed here"
    failure = Failure(code=ImageCode.INTERNAL, message=message, step=step, retry=True, step_index=chunk.step)
    outcomes = [Outcome(id=image.id, state="failed", error=failure) for image in chunk.images]
    event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
    return event.model_dump_json().encode()
