"""Reconciler: requeues images whose messages were lost.

The database is authoritative. An image that is in flight there but has had no event for longer than its turn could take
is lost together with its message: a queue was purged, a broker came back empty, an event was dropped, or a coordinator
crashed before it published the message. If it was not lost after all, it is processed twice and counted once.

The time of an outage does not count, in which workers have given back what they cannot work on.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass

from penstock.common.broker.base import Broker
from penstock.common.logs import OutageLog
from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, step_queue
from penstock.common.registry import operations
from penstock.common.store.base import Store
from penstock.coordinator.ports.repository import Job, Repository
from penstock.coordinator.ports.unstored_jobs import UnstoredJobs
from penstock.coordinator.scheduling.garbage_collector import GarbageCollector
from penstock.coordinator.scheduling.in_flight import InFlight, Position

log = logging.getLogger(__name__)

_TICK_SECS = 1.0
_CHECKS_PER_TIMEOUT = 4
"""How often within `repair_secs` it looks for lost images."""
_MAX_DOUBLINGS = 8
_CHUNKS_PER_WORKER = 3
"""A worker runs one chunk and may hold two more, which wait although their queue is empty."""


@dataclass(frozen=True)
class ReconcilerSettings:
    """See `CoordinatorSettings` and `WorkerSettings`. `publishes_status` lets followers read the leader's status."""

    repair_secs: float = 30.0
    step_timeout_secs: float = 60.0
    max_chunk: int = 8
    sweep_secs: float = 60.0
    abandoned_secs: float = 86_400.0
    publishes_status: bool = False


@dataclass
class _QueueState:
    """A step's queue as last seen. An image is not lost while its message could not have been taken.

    If a step had no worker for hours, what its first worker takes has waited long and is not lost.
    """

    empty: bool = True
    filled_at: float = 0.0
    """When it was last seen with messages."""
    idle_at: float = 0.0
    """When it was last seen without a consumer."""
    paused_at: float = 0.0
    """When all its workers, or the coordinator itself, were last known to wait."""


_UNKNOWN_QUEUE = _QueueState()


class Reconciler:
    """One thread, while this coordinator leads. It calls `wake` when there are images to dispatch again."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        broker: Broker,
        in_flight: InFlight,
        settings: ReconcilerSettings,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        unstored_jobs: UnstoredJobs | None = None,
    ) -> None:
        self._repository = repository
        self._unstored_jobs = unstored_jobs or UnstoredJobs(repository)
        self._broker = broker
        self._in_flight = in_flight
        self._settings = settings
        self._wake = wake
        self._clock = clock
        self._garbage_collector = GarbageCollector(
            repository, store, settings.abandoned_secs, unstored_jobs=self._unstored_jobs
        )
        self._collection_outage = OutageLog(log, "the garbage collector")
        self._requeued: dict[str, Counter[int]] = {}
        """How often each image of a job was requeued; its timeout doubles each time."""
        self._unknown: dict[str, Set[int]] = {}
        """Images of a job that the database had in flight at the last check and `InFlight` did not."""
        self._queues = {step: _QueueState() for step in operations()}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after its current task."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        check_secs = max(min(_TICK_SECS, self._settings.repair_secs), self._settings.repair_secs / _CHECKS_PER_TIMEOUT)
        check_at, collect_at = self._clock() + check_secs, self._clock() + self._settings.sweep_secs
        while not self._stopping.wait(min(_TICK_SECS, check_secs)):
            now = self._clock()
            if self._settings.publishes_status:
                self._try(self.publish_status, self._in_flight.outage)
            if now >= check_at:
                self._try(self.requeue_lost, self._in_flight.outage)
                check_at = self._clock() + check_secs
            if now >= collect_at:
                self._try(self._garbage_collector.collect, self._collection_outage)
                collect_at = self._clock() + self._settings.sweep_secs

    def _try(self, task: Callable[[], object], outage: OutageLog) -> None:
        try:
            task()
        except UnavailableError as error:
            outage.begin(error, task.__name__)
        except Exception:
            log.exception("reconciliation delayed: unexpected error")
        else:
            outage.end(task.__name__)

    def publish_status(self) -> None:
        """Store the snapshot that followers read."""
        self._repository.put_status(self._in_flight.snapshot().to_json())

    def requeue_lost(self) -> int:
        """Requeue lost images; return how many.

        Raises:
            UnavailableError: the broker or the database is unreachable.
        """
        try:
            return self._requeue_lost()
        except UnavailableError:
            for queue in self._queues.values():
                queue.paused_at = self._clock()
            raise

    def _requeue_lost(self) -> int:
        self._broker.check()  # while it takes no messages, no worker can say what it does
        self._check_queues()
        if self._broker.depth(EVENTS_QUEUE).ready:
            return 0  # events of these images may be among them
        known = self._in_flight.job_runs()
        unstored = {name for name, _ in known if name in self._unstored_jobs}  # those stored meanwhile are among them
        jobs = {job.id: job for job in self._repository.open_jobs()}
        for name, run in known:
            if name not in jobs and name not in unstored:
                self._in_flight.remove_job(name, run)
        self._requeued = {name: counts for name, counts in self._requeued.items() if name in jobs}
        self._unknown = {name: images for name, images in self._unknown.items() if name in jobs}
        return sum(self._requeue_lost_of(job) for job in jobs.values())

    def _check_queues(self) -> None:
        now = self._clock()
        waiting = self._in_flight.waiting()
        is_hampered = self._in_flight.outage.error is not None
        for step, queue in self._queues.items():
            depth = self._broker.depth(step_queue(step))
            queue.empty = depth.ready == 0
            if depth.ready:
                queue.filled_at = now
            if not depth.consumers:
                queue.idle_at = now
            if is_hampered or (step in waiting and not depth.consumers):
                queue.paused_at = now

    def _requeue_lost_of(self, job: Job) -> int:
        self._adopt_unknown(job)
        requeued = self._requeued.setdefault(job.id, Counter())
        waiting_secs, running_secs = self._timeouts(job)
        now = self._clock()

        def is_lost(image: int, step: str, at: Position, taken_since: float) -> bool:
            timeout: float = (running_secs if at.running else waiting_secs) * 2 ** min(requeued[image], _MAX_DOUBLINGS)
            queue = self._queues.get(step, _UNKNOWN_QUEUE)
            if at.running:  # without a consumer, nobody could take it again either
                return now - max(at.since, queue.paused_at, queue.idle_at) > timeout
            is_gone = queue.empty and now - max(at.since, queue.filled_at, queue.paused_at) > timeout
            is_overtaken = at.since + self._settings.repair_secs < taken_since
            return is_gone or (is_overtaken and now - max(at.since, queue.idle_at) > timeout)

        lost = self._in_flight.find_images(job.id, is_lost)
        if not lost:
            return 0
        self._in_flight.remove_images(job.id, lost)
        count = self._repository.requeue_in_flight(job.id, lost)
        requeued.update(lost)
        if count:
            self._in_flight.counters.count_repaired(count)
            log.warning("requeued %d lost images of job %s", count, job.id, extra={"job": job.id})
            self._wake()
        return count

    def _adopt_unknown(self, job: Job) -> None:
        """Adopt images that only the database had in flight at two checks in a row.

        At the first check they may just have ended: `InFlight` knows that before the database, and adopting them would
        use up the job's window until they time out.
        """
        unknown: dict[int, int] = {}
        if job.queued + job.running > self._in_flight.count(job.id):
            known = set(self._in_flight.find_images(job.id, lambda *_: True))
            found = self._repository.in_flight(job.id)
            unknown = {image: step for image, step in found.items() if image not in known}
        before = self._unknown.get(job.id, frozenset())
        self._in_flight.adopt(job, [(image, step) for image, step in unknown.items() if image in before])
        self._unknown[job.id] = unknown.keys()

    def _timeouts(self, job: Job) -> tuple[float, float]:
        """Return for how many seconds a waiting image, and a running one, may have no event."""
        service_times = self._in_flight.service_times(job.plan)
        chunk_secs = sum(secs or 0.0 for secs in service_times) * (job.chunk_size or self._settings.max_chunk)
        running_secs = self._settings.repair_secs + self._settings.step_timeout_secs + chunk_secs
        if None in service_times:
            return running_secs, running_secs
        return self._settings.repair_secs + chunk_secs * _CHUNKS_PER_WORKER, running_secs
