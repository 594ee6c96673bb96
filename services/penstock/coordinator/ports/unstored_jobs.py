"""Unstored jobs: those of synchronous calls that the database does not have, because they end before it matters.

Such a job has one image, which a worker takes at once. The request that waits for it is all that needs it: if the
coordinator dies, nobody is left to answer, and the garbage collector deletes its files. A job that lasts is written to
the database, and is one like any other from then on.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from penstock.common.model.jobs import TERMINAL_IMAGE_STATES, ImageState, JobState
from penstock.common.model.messages import Event, Outcome
from penstock.coordinator.ports.outcomes import code_of, error_of, failure_of
from penstock.coordinator.ports.repository import Image, Job, Repository

VOLATILE = "volatile"
"""The field of a job's document if a power failure, which ends the request that waits for it, may lose its files."""
_LASTS_SECS = 1.0
"""For how long a job may be without a row."""
_COUNT_SECS = 1.0
"""How often the images that ended are counted in the database."""


@dataclass
class _Unstored:
    """A job and its image: as they would be written, and the image as it is now."""

    job: Job
    pending: Image
    image: Image
    since: float


class UnstoredJobs:
    """The jobs, and what is still to be counted of them. May be used from any thread."""

    def __init__(self, repository: Repository, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository = repository
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, _Unstored] = {}
        self._accepted: Counter[str] = Counter()
        """Images by owner, still to be counted."""
        self._ended: Counter[str] = Counter()
        """Images by outcome, still to be counted."""
        self._counted_at = clock()

    def add(self, job: Job, image: Image) -> Job:
        """Add a job with a pending image that is dispatched at once; return it as a running one."""
        now = time.time()
        running = replace(job, state=JobState.RUNNING, total=1, queued=1, started_at=now, run_started_at=now)
        with self._lock:
            self._jobs[job.id] = _Unstored(job, image, replace(image, state=ImageState.QUEUED), self._clock())
        return running

    def __contains__(self, job: str) -> bool:
        with self._lock:
            return job in self._jobs

    def count_open(self) -> int:
        """Count the jobs whose image has not ended."""
        with self._lock:
            return sum(each.image.state not in TERMINAL_IMAGE_STATES for each in self._jobs.values())

    def find(self, job: str) -> Image | None:
        """Return a job's image as it is now; None if there is no such job."""
        with self._lock:
            return self._jobs[job].image if job in self._jobs else None

    def apply(self, events: Iterable[Event]) -> tuple[list[Event], list[str]]:
        """Apply the `finished` events of these jobs; return the events of other jobs, and the jobs that ended now."""
        others, ended = [], []
        with self._lock:
            for event in events:
                found = self._jobs.get(event.job)
                if found is None:
                    others.append(event)
                elif found.image.state not in TERMINAL_IMAGE_STATES and event.outcomes:
                    found.image = _ended_image(found.image, event.outcomes[0])
                    self._count(found, code_of(found.image.error) if found.image.error else ImageState.DONE.value)
                    ended.append(event.job)
        return others, ended

    def is_overdue(self, job: str) -> bool:
        """Return whether a job has lasted so long that it should be stored."""
        with self._lock:
            found = self._jobs.get(job)
            is_open = found is not None and found.image.state not in TERMINAL_IMAGE_STATES
            return found is not None and is_open and self._clock() - found.since >= _LASTS_SECS

    def store(self, job: str, *, is_dispatched: bool) -> None:
        """Write a job to the database unless its image has ended: as dispatched, or else as accepted.

        Raises:
            UnavailableError: the database is unreachable, or another coordinator leads.
        """
        with self._lock:  # an outcome that comes meanwhile waits for the row
            found = self._jobs.get(job)
            if found is None or found.image.state in TERMINAL_IMAGE_STATES:
                return
            create = self._repository.create_dispatched if is_dispatched else self._repository.create_accepted
            create(found.job, [found.pending])
            del self._jobs[job]

    def remove(self, job: str) -> tuple[Job, bool] | None:
        """Remove a job and return it, and whether its image had ended; None if there is no such job."""
        with self._lock:
            found = self._jobs.pop(job, None)
            if found is None:
                return None
            has_ended = found.image.state in TERMINAL_IMAGE_STATES
            if not has_ended:
                self._count(found, ImageState.CANCELLED.value)
            return found.job, has_ended

    def count(self, *, now: bool = False) -> None:
        """Count in the database what has ended, if it is time or `now`.

        Raises:
            UnavailableError: the database is unreachable; it is counted later.
        """
        with self._lock:
            if not self._ended or not (now or self._clock() - self._counted_at >= _COUNT_SECS):
                return
            accepted, ended = self._accepted, self._ended
            self._accepted, self._ended = Counter(), Counter()
            self._counted_at = self._clock()
        try:
            self._repository.count_unstored(accepted, ended)
        except BaseException:
            with self._lock:
                self._accepted += accepted
                self._ended += ended
            raise

    def _count(self, found: _Unstored, outcome: str) -> None:
        self._accepted[found.job.owner] += 1
        self._ended[outcome] += 1


def _ended_image(image: Image, outcome: Outcome) -> Image:
    if outcome.state == "done":
        state, results, error = ImageState.DONE, outcome.results, None
    else:
        state, results, error = ImageState.FAILED, [], error_of(failure_of(outcome))
    return replace(image, state=state, results=results, error=error, timings=outcome.timings, attempts=outcome.attempts)
