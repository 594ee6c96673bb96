"""Readiness: whether the store, the database and the broker answer, which are needed to accept jobs."""

from __future__ import annotations

from penstock.common.model.messages import EVENTS_QUEUE
from penstock.coordinator.api.monitoring.single_flight import SingleFlight, gather
from penstock.coordinator.api.services import Services


class Readiness:
    """Checks a coordinator's dependencies. May be used from any thread."""

    def __init__(self, services: Services) -> None:
        self._timeout_secs = services.check_timeout_secs
        self._checks = {
            "store": SingleFlight(services.store.check),
            "database": SingleFlight(services.repository.check),
            "broker": SingleFlight(lambda: services.broker.declare([EVENTS_QUEUE])),
        }

    def check(self) -> dict[str, str]:
        """Return for each dependency whether it is `ok` or `away`."""
        answered = gather(self._checks, self._timeout_secs)
        return {name: "ok" if name in answered else "away" for name in self._checks}
