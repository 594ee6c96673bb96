"""Counters: what this coordinator counts for Prometheus, its own work and what workers report.

Nothing is counted per job. Steps and calls with unknown names are ignored, so the number of series is bounded.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from penstock.common.metrics import CALL_BOUNDS_SECS, CALLS, CallCounters, Histogram
from penstock.common.model.messages import Measures, Outcome
from penstock.common.registry import operations

WAIT_BOUNDS_SECS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
WORK_BOUNDS_SECS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ATTEMPT_BOUNDS = (1, 2, 3, 5)
DEPENDENCIES = frozenset({"store", "broker", "bucket"})
"""What workers wait for."""


class Counters:
    """Counts since the process started. May be used from any thread; hold `lock` to read several consistently."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.own_calls = CallCounters()
        """The coordinator's own calls of store and broker."""
        self.is_leader = False
        self.window_images = 0
        """Images that may be in flight, over all open jobs."""
        self.wait_secs: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(WAIT_BOUNDS_SECS))
        """Seconds that images waited for each step."""
        self.work_secs: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(WORK_BOUNDS_SECS))
        """Seconds that each step worked on images."""
        self.attempts = Histogram(ATTEMPT_BOUNDS)
        self.worker_calls: dict[str, Histogram] = {}
        """Seconds of the workers' calls, such as `store.get`."""
        self.failed_worker_calls: Counter[str] = Counter()
        self.taken_chunks: Counter[str] = Counter()
        self.redelivered_chunks: Counter[str] = Counter()
        self.dispatched_chunks: Counter[str] = Counter()
        self.dispatched_images: Counter[str] = Counter()
        self.repaired_images = 0
        self.waited_secs: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Seconds that workers waited, by step and the dependency that could not be used."""

    def count_dispatched(self, step: str, images: int) -> None:
        """Count a chunk sent to a step."""
        with self.lock:
            self.dispatched_chunks[step] += 1
            self.dispatched_images[step] += images

    def count_repaired(self, images: int) -> None:
        """Count lost images that were requeued."""
        with self.lock:
            self.repaired_images += images

    def count_images(self, steps: Sequence[str], outcomes: Iterable[Outcome]) -> None:
        """Count images that have ended; `steps` are those of their plan."""
        with self.lock:
            for outcome in outcomes:
                self.attempts.observe(outcome.attempts)
                for timing in outcome.timings:
                    if 0 <= timing.step < len(steps):
                        step = steps[timing.step]
                        self.wait_secs[step].observe(timing.wait)
                        self.work_secs[step].observe(timing.work)

    def add_measures(self, measures: Measures) -> None:
        """Add what a worker has counted."""
        steps = operations()
        with self.lock:
            for calls in measures.calls:
                if calls.what in CALLS and len(calls.buckets) == len(CALL_BOUNDS_SECS) + 1:
                    histogram = self.worker_calls.setdefault(calls.what, Histogram(CALL_BOUNDS_SECS))
                    histogram.add(calls.buckets, calls.seconds)
                    self.failed_worker_calls[calls.what] += calls.failed
            self.taken_chunks.update({step: count for step, count in measures.chunks.items() if step in steps})
            self.redelivered_chunks.update({s: count for s, count in measures.redelivered.items() if s in steps})
            for step, waited in measures.waited.items():
                for what in DEPENDENCIES.intersection(waited) if step in steps else ():
                    self.waited_secs[step, what] += waited[what]
