"""Dispatcher: publishes chunks of pending images to their first step's queue, within windows and fair shares."""

import hashlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from penstock.common.broker.base import Broker
from penstock.common.model.errors import ImageCode, UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, Event, Failure, ImageRef, Outcome, fit_chunk, step_queue
from penstock.common.model.plan import Layout
from penstock.common.model.result_names import PARTS
from penstock.common.registry import operations
from penstock.common.sidecars import stored_regions
from penstock.common.store.base import Store
from penstock.common.store.keys import later_results_prefix, plan_key, results_prefix
from penstock.common.tracing.base import NO_TRACING, Trace, Tracing
from penstock.coordinator.ports.repository import Image, Job, Repository
from penstock.coordinator.ports.unstored_jobs import VOLATILE
from penstock.coordinator.scheduling.deadlines.policy import urgency
from penstock.coordinator.scheduling.fair_share import FairShare
from penstock.coordinator.scheduling.groups.group_dispatcher import GroupDispatcher
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.worker_counts import WorkerCounts

log = logging.getLogger(__name__)

_MAX_INLINE_PLAN_BYTES = 1_500
_MAX_IMAGES_BYTES = 2_000
_WINDOW_SECS = 0.12
"""Work that each worker should have queued: enough for the time from an outcome to the next message, some 50 ms."""
_RETRY_SECS = 1.0
_TASK = "dispatcher"


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
        find_pressing: Callable[[Sequence[Job]], Collection[str]] | None = None,
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
        self._find_pressing = find_pressing or (lambda jobs: {job.id for job in jobs})
        """Returns which jobs go before others, given those with a deadline."""
        self._fair_share = fair_share or FairShare(in_flight, settings.weights)
        self._windows: dict[str, int] = {}
        self._served: dict[str, float] = {}
        """Weighted round-robin of an owner's jobs: images dispatched so far, divided by the job's weight."""
        self._groups = GroupDispatcher(repository, store, in_flight, self._publish_group, retry_secs)
        self._unsent: dict[str, list[bytes]] = {}
        self._left = 1
        """Images that the last round left pending, as far as known; adding some wakes the dispatcher."""
        self._packed: str | None = None
        """The first job that had packed images in the last round."""
        self._is_dispatching = False
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

    def wake_if_waiting(self) -> None:
        """Look for work now, because there is more room, unless nothing waits for it."""
        if self._left or self._is_dispatching:
            self._wanted.set()

    def stop(self) -> None:
        """Stop the thread after the round in progress."""
        self._stopping = True
        self._wanted.set()
        self._thread.join()
        self._groups.stop()

    def _run(self) -> None:
        while True:
            self._wanted.wait(self._settings.poll_secs)
            self._wanted.clear()
            if self._stopping:
                return
            self._is_dispatching = True
            try:
                while (self.dispatch_round() and self._left) or self._unpack():
                    pass
                self._in_flight.outage.end(_TASK)
            except UnavailableError as error:
                self._in_flight.outage.begin(error, _TASK)
                self._retry_later()
            except Exception:
                log.exception("dispatch delayed: unexpected error")
                self._retry_later()
            finally:
                self._is_dispatching = False

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
        urgencies = self._find_urgencies(first)
        allowances = self._fair_share.allocate([(job, self._windows[job.id]) for job in first], urgencies)
        dispatched = 0
        for job in sorted(first, key=lambda job: (urgencies[job.id], self._served[job.id])):
            count, traces = self._take_chunks(job, sizes[job.id][0], allowances[job.id].free)
            try:
                self._publish_unsent()
            finally:
                for trace in traces:
                    trace.end()
            allowances[job.id].use(count)
            self._served[job.id] += count / job.weight
            dispatched += count
        self._left = sum(job.dispatchable for job in jobs) - dispatched
        self._packed = next((job.id for job in jobs if job.packed), None)
        self._in_flight.counters.window_images = sum(self._windows.values())
        return dispatched

    def _find_urgencies(self, jobs: Sequence[Job]) -> dict[str, float]:
        """Return a number for each job, the smaller the sooner it goes; infinite without a pressing deadline."""
        now = time.time()
        found = {job.id: urgency(job.deadline, now) for job in jobs}
        due = [job for job in jobs if found[job.id] < math.inf]
        pressing = self._find_pressing(due) if due and len(jobs) > 1 else ()
        return {job: at if job in pressing else math.inf for job, at in found.items()}

    def _unpack(self) -> bool:
        """Unpack some images of a job once workers have enough to do, so that its next ones are ready in time."""
        return self._packed is not None and self._repository.unpack_images(self._packed) > 0

    def has_room(self, job: Job) -> bool:
        """Return whether the images of a new job would be dispatched now: nothing is waiting, and workers have room."""
        _, window = self._chunk_size_and_window(job)
        return not self._left and self._in_flight.count() < window

    def has_workers(self, job: Job) -> bool:
        """Return whether each step of a job has workers."""
        known = operations()
        return all(step in known and self._worker_counts.count(step) for step in job.plan.steps)

    def dispatch(self, job: Job, images: Sequence[Image]) -> None:
        """Publish each image of a new job that the database has as dispatched. May be called from any thread.

        Raises:
            UnavailableError: the broker or the store is unreachable; some of the images may have been published.
        """
        self._in_flight.add_dispatched(job, ((image.id, image.resume_step) for image in images))
        for chunk in _chunks(job, images, 1, self._plan_or_key(job)):
            trace, queue, message = self._message(chunk, job.plan.steps[chunk.step])
            try:
                self._broker.publish(queue, [message])
            finally:
                trace.end()

    def _carry_over_served(self, jobs: Sequence[Job]) -> dict[str, float]:
        """Return how much each job was served. A new job starts at its owner's lowest, or it would go first."""
        minimums: dict[str, float] = {}
        for job in jobs:
            if job.id in self._served:
                minimums[job.owner] = min(self._served[job.id], minimums.get(job.owner, math.inf))
        return {job.id: max(self._served.get(job.id, 0.0), minimums.get(job.owner, 0.0)) for job in jobs}

    def _chunk_size_and_window(self, job: Job) -> tuple[int, int]:
        """Return the sources per chunk of a job, and its images in flight if it is alone."""
        known = operations()
        steps = [step for step in job.plan.steps if step in known]
        workers = max(self._settings.workers, *(self._worker_counts.count(step) for step in steps), 1)
        size = self._chunk_size(job, workers)
        per_worker = self._window_per_worker(job, size) * job.plan.layout.count
        return size, per_worker * max(self._settings.processes, workers, self._in_flight.count_workers())

    def _chunk_size(self, job: Job, workers: int) -> int:
        """Return 1 until every worker is busy, then as many sources as keep a worker busy for a moment."""
        if job.chunk_size is not None:
            return job.chunk_size
        if self._in_flight.count() + job.dispatchable <= workers:
            return 1
        fit = fit_chunk(max(self._service_times(job)), self._settings.max_chunk)
        share = -(-(self._in_flight.count(job.id) + job.dispatchable) // (2 * workers * job.plan.layout.count))
        return max(1, min(fit, share))

    def _window_per_worker(self, job: Job, size: int) -> int:
        """Return the sources of a job in flight per worker: at least one chunk being processed and one waiting.

        Fast images need more, or workers would wait for the next ones. Larger windows would delay jobs that come later,
        because what is queued goes first.
        """
        secs = sum(self._service_times(job))
        fit = 4 * size if not secs else math.ceil(_WINDOW_SECS / secs)
        return max(2 * size, min(self._settings.window_images, fit))

    def _service_times(self, job: Job) -> list[float]:
        """Return the seconds per source in each operation of a job, without those of groups; 0 where not measured."""
        layout = job.plan.layout
        secs = enumerate(self._in_flight.service_times(job.plan)[: layout.size])
        return [(each or 0.0) * (layout.count if index < layout.fork else 1) for index, each in secs]

    def _take_chunks(self, job: Job, size: int, limit: int) -> tuple[int, list[Trace]]:
        """Take up to `limit` images of a job and add them to the unsent messages; return their number and traces."""
        if not limit:
            return 0, []
        plan, count = self._plan_or_key(job), job.plan.layout.count
        images = self._repository.take_pending(job.id, max(count, limit - limit % count))  # all outputs of a source
        if not images:
            return 0, []
        self._in_flight.add_dispatched(job, ((image.id, image.resume_step) for image in images))
        for group in images if job.plan.layout.gather else ():
            if job.plan.layout.is_group(group.id) and not group.resume_blob:
                self._groups.dispatch(job, group)
        chunks = _chunks(job, images, size, plan)
        return len(images), [self._queue_chunk(chunk, job.plan.steps[chunk.step]) for chunk in chunks]

    def _publish_group(self, job: Job, group: Image, failure: Failure | None) -> None:
        chunk = _chunk(job, [group], self._plan_or_key(job))
        chunk.step = job.plan.layout.first(group.id)
        if failure is not None:
            self._broker.publish(EVENTS_QUEUE, [_failed_event(chunk, failure)])
            return
        trace, queue, message = self._message(chunk, job.plan.steps[chunk.step])
        try:
            self._broker.publish(queue, [message])
        finally:
            trace.end()

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
        trace, queue, message = self._message(chunk, step)
        self._unsent.setdefault(queue, []).append(message)
        return trace

    def _message(self, chunk: Chunk, step: str) -> tuple[Trace, str, bytes]:
        """Return a chunk's message, the queue that it is for, and the trace of its dispatch."""
        trace = self._tracing.start_trace(
            f"dispatch {step}", job=chunk.job, chunk=chunk.chunk, step=step, images=len(chunk.images)
        )
        if step not in operations():
            return trace, EVENTS_QUEUE, _missing_step_event(chunk, step)
        log.debug(
            "dispatching %d images", len(chunk.images), extra={"job": chunk.job, "step": step, "chunk": chunk.chunk}
        )
        chunk.traceparent = trace.traceparent
        self._in_flight.counters.count_dispatched(step, len(chunk.images))
        return trace, step_queue(step), chunk.model_dump_json().encode()

    def _publish_unsent(self) -> None:
        """Publish queued messages. They are kept while the broker is unreachable, because their images are taken."""
        while self._unsent:
            queue = next(iter(self._unsent))
            self._broker.publish(queue, self._unsent[queue])
            del self._unsent[queue]


def _chunks(job: Job, images: Sequence[Image], size: int, plan: list[dict[str, Any]] | str) -> Iterator[Chunk]:
    """Yield the chunks of a job's images; each image that resumes from an intermediate is a chunk of its own.

    Groups that start from their listing are left out.
    """
    if job.plan.layout.gather:
        is_group = job.plan.layout.is_group
        images = [image for image in images if image.resume_blob or not is_group(image.id)]
    for group in _groups([image for image in images if not image.resume_blob], size, job.plan.layout):
        yield _chunk(job, group, plan)
    for image in images:
        if image.resume_blob:
            chunk = _chunk(job, [image], plan)
            chunk.step, chunk.blob = image.resume_step, image.resume_blob
            chunk.images[0].parts = image.resume_parts
            yield chunk


def _chunk(job: Job, images: Sequence[Image], plan: list[dict[str, Any]] | str) -> Chunk:
    results = results_prefix(job.id, job.document.get("results"))
    if job.plan.layout.is_group(images[0].id):
        results = later_results_prefix(results, job.run)
    return Chunk(
        job=job.id,
        run=job.run,
        chunk=_chunk_name(images),
        plan=plan,
        images=[_image_ref(image) for image in images],
        results=results,
        volatile=VOLATILE in job.document,
        names=job.document.get("names", PARTS),
        enqueued_at=time.time(),
    )


def _image_ref(image: Image) -> ImageRef:
    if image.regions is None:
        return ImageRef(id=image.id, stem=image.stem, ref=image.ref)
    regions = stored_regions(image.regions)
    return ImageRef(id=image.id, stem=image.stem, ref=image.ref, regions=regions)


def _groups(images: Sequence[Image], size: int, layout: Layout) -> Iterator[list[Image]]:
    """Yield consecutive images in groups of at most `size` sources, fewer if the message would be too large.

    Names or regions make it so. All outputs of a source are in one group, so that it is read once.
    """
    group: list[Image] = []
    group_bytes = sources = 0
    for _, same in groupby(images, key=lambda image: layout.source(image.id)):
        outputs = [*same]
        more_bytes = sum(len(each.stem.encode()) + len(each.ref) + len(each.regions or "") for each in outputs)
        if group and (sources == size or group_bytes + more_bytes > _MAX_IMAGES_BYTES):
            yield group
            group, group_bytes, sources = [], 0, 0
        group += outputs
        group_bytes += more_bytes
        sources += 1
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
    return _failed_event(chunk, failure)


def _failed_event(chunk: Chunk, failure: Failure) -> bytes:
    """Return an event that fails a chunk."""
    outcomes = [Outcome(id=image.id, state="failed", error=failure) for image in chunk.images]
    event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
    return event.model_dump_json().encode()
