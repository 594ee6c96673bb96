"""Outage: what keeps a worker from working although no image is at fault, such as a full store.

It begins when store, broker or a bucket cannot be used. The worker then gives back its chunks, takes no more, and
probes from time to time. Once a probe succeeds it takes chunks again; the outage ends when one of them is completed.
A probe alone proves too little: a nearly full store takes a small object and no image.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

from penstock.common.backoff import Backoff
from penstock.common.logs import OutageLog
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import ObjectFailedError, UnavailableError

log = logging.getLogger(__name__)

_OF_THE_STEP = "program"


def hide_outages() -> None:
    """Log no outages in this process, because they end the run that it belongs to, which says so itself."""
    log.setLevel(logging.ERROR)


def is_outage(error: UnavailableError) -> bool:
    """Return whether an error concerns every image, so that none of them should be blamed."""
    return error.what != _OF_THE_STEP and not isinstance(error, ObjectFailedError)


class Outage:
    """The outage that a worker waits for. `begin` and `end` may be called from any thread.

    Args:
        probes: for each dependency, a call that raises UnavailableError while it cannot be used.
        backoff: the delays between probes.
        report: is called with the error before each probe, and with None when the worker goes on.
        counters: count the seconds waited, for each of `steps`.
    """

    def __init__(
        self,
        probes: Mapping[str, Callable[[], None]],
        backoff: Backoff,
        report: Callable[[UnavailableError | None], None],
        counters: CallCounters,
        steps: Collection[str],
    ) -> None:
        self._probes = probes
        self._backoff = backoff
        self._report = report
        self._counters = counters
        self._steps = steps
        self._log = OutageLog(log, "the worker")
        self._failed_at = 0.0
        self._must_wait = threading.Event()

    @property
    def must_wait(self) -> bool:
        """Whether the worker must call `wait` before it takes another chunk."""
        return self._must_wait.is_set()

    def begin(self, error: UnavailableError) -> None:
        """Note that a dependency cannot be used."""
        self._failed_at = time.monotonic()
        self._log.begin(error)
        self._must_wait.set()

    def end(self, taken_at: float) -> None:
        """Note that a chunk was completed that was taken at `taken_at` (monotonic); one from before proves nothing."""
        if taken_at > self._failed_at and self._log.end():
            self._must_wait.clear()
            self._backoff.reset()

    def wait(self, stopping: threading.Event) -> None:
        """Wait until a probe succeeds or `stopping` is set."""
        has_waited = False
        while not stopping.is_set() and (error := self._log.error) is not None:
            began, has_waited = time.monotonic(), True
            self._report(error)
            self._backoff.wait(stopping)
            succeeds = self._probe(error.what)
            self._counters.count_wait(self._steps, error.what, time.monotonic() - began)
            if succeeds:
                break
        if has_waited:
            self._report(None)
        self._must_wait.clear()

    def _probe(self, what: str) -> bool:
        try:
            self._probes.get(what, _no_probe)()
        except UnavailableError as error:
            self.begin(error)
            return False
        return True


def _no_probe() -> None:
    """The next chunk is the probe."""
