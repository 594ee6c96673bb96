"""Step history: the load of every step over the last hour, one point every ten seconds, in memory."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from penstock.common.model import rest
from penstock.common.model.errors import UnavailableError
from penstock.coordinator.api.monitoring.single_flight import SingleFlight
from penstock.coordinator.ports.scheduler import StepStatus

log = logging.getLogger(__name__)

INTERVAL_SECS = 10
_POINTS = 360


class _Load(NamedTuple):
    """One step at one moment."""

    utilisation: float | None
    backlog_secs: float | None
    images_per_second: float | None
    replicas: int


class StepHistory:
    """The last 360 points. They are of this process: a restart, or another coordinator, starts with none.

    Not thread-safe: `run` and `view` belong to one event loop.
    """

    def __init__(
        self, statuses: SingleFlight[list[StepStatus]], count_replicas: Callable[[StepStatus], int], timeout_secs: float
    ) -> None:
        self._statuses = statuses
        self._count_replicas = count_replicas
        self._timeout_secs = timeout_secs
        self._points: deque[dict[str, _Load]] = deque(maxlen=_POINTS)
        self._last_at = time.time()

    async def run(self) -> None:
        """Add a point every ten seconds, until it is cancelled."""
        while True:
            await self.add_now()
            await asyncio.sleep(INTERVAL_SECS)

    async def add_now(self) -> None:
        """Add a point; without values if the steps' queues or the database cannot be read in time."""
        try:
            found = await run_in_threadpool(lambda: self._statuses.start().result(self._timeout_secs))
        except (UnavailableError, TimeoutError) as error:
            log.debug("no load of the steps: %s", error)
            found = []
        except Exception:
            log.exception("no load of the steps: unexpected error")
            found = []
        self.add(found)

    def add(self, statuses: Iterable[StepStatus]) -> None:
        """Add a point."""
        self._last_at = time.time()
        self._points.append(
            {
                step.name: _Load(
                    _rounded(step.utilisation),
                    _rounded(step.backlog_seconds),
                    _rounded(step.images_per_second),
                    self._count_replicas(step),
                )
                for step in statuses
            }
        )

    def view(self, now: float) -> rest.StepHistory:
        """Return all points by step; `now` is in seconds since the epoch."""
        names = list(dict.fromkeys(name for point in self._points for name in point))
        steps = [_view(name, [point.get(name) for point in self._points]) for name in names]
        return rest.StepHistory(
            interval_seconds=INTERVAL_SECS, seconds_ago=round(max(0.0, now - self._last_at), 1), steps=steps
        )


def _view(name: str, loads: Sequence[_Load | None]) -> rest.StepLoads:
    return rest.StepLoads(
        name=name,
        utilisation=[load and load.utilisation for load in loads],
        backlog_seconds=[load and load.backlog_secs for load in loads],
        images_per_second=[load and load.images_per_second for load in loads],
        replicas=[load and load.replicas for load in loads],
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
