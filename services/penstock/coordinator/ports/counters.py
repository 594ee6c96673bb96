"""What this coordinator counts for Prometheus while it leads: its own doing, and what workers told of theirs.

Nothing here is per job: steps and kinds of calls are few, and what a message names otherwise is left out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from penstock.common.metrics import CALL_BOUNDS_SECS, CALLS, CallCounters, Histogram
from penstock.common.model.messages import Measures, Outcome
from penstock.common.registry import operations

WAIT_BOUNDS_SECS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
WORK_BOUNDS_SECS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ATTEMPT_BOUNDS = (1, 2, 3, 5)


class Counters:
    """Counts since the process began. May be used from any thread; whoever reads several at once holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tally = CallCounters()
        """The coordinator's own calls of store and broker."""
        self.leads = False
        self.window_images = 0
        """Images that may be under way, over all open jobs."""
        self.waits: dict[str, Histogram] = {}
        self.works: dict[str, Histogram] = {}
        self.attempts = Histogram(ATTEMPT_BOUNDS)
        self.calls: dict[str, Histogram] = {}
        """The workers' calls, such as `store.get`."""
        self.failed_calls: Counter[str] = Counter()
        self.taken_chunks: Counter[str] = Counter()
        self.redelivered_chunks: Counter[str] = Counter()
        self.dispatched_chunks: Counter[str] = Counter()
        self.dispatched_images: Counter[str] = Counter()
        self.repaired_images = 0

    def count_dispatched(self, step: str, images: int) -> None:
        """Count a chunk that was sent to a step."""
        with self.lock:
            self.dispatched_chunks[step] += 1
            self.dispatched_images[step] += images

    def count_repaired(self, images: int) -> None:
        """Count images that were lost and are sent again."""
        with self.lock:
            self.repaired_images += images

    def count_image(self, steps: Sequence[str], outcome: Outcome) -> None:
        """Count an image that has ended; `steps` are its plan's."""
        with self.lock:
            self.attempts.observe(outcome.attempts)
            for timing in outcome.timings:
                if 0 <= timing.step < len(steps):
                    step = steps[timing.step]
                    self.waits.setdefault(step, Histogram(WAIT_BOUNDS_SECS)).observe(timing.wait)
                    self.works.setdefault(step, Histogram(WORK_BOUNDS_SECS)).observe(timing.work)

    def add(self, measures: Measures) -> None:
        """Count what a worker counted. A kind of call or a step that nobody here knows is passed over."""
        steps = operations()
        with self.lock:
            for calls in measures.calls:
                if calls.what in CALLS and len(calls.buckets) == len(CALL_BOUNDS_SECS) + 1:
                    self.calls.setdefault(calls.what, Histogram(CALL_BOUNDS_SECS)).add(calls.buckets, calls.seconds)
                    self.failed_calls[calls.what] += calls.failed
            self.taken_chunks.update({step: count for step, count in measures.chunks.items() if step in steps})
            self.redelivered_chunks.update({s: count for s, count in measures.redelivered.items() if s in steps})
