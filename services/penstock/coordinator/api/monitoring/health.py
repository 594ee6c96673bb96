"""Whether jobs can be accepted: store, database and broker, each asked at the same time and not for long."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future

from penstock.common.model.errors import UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE
from penstock.coordinator.api.monitoring.single_flight import SingleFlight
from penstock.coordinator.api.services import Services

log = logging.getLogger(__name__)

_PATIENCE_SECS = 5.0
"""Monitors wait no longer either, and a broker that is away is given 30 s by those who need it."""


class Readiness:
    """What a coordinator needs. May be used from any thread."""

    def __init__(self, services: Services) -> None:
        self._checks = {
            "store": SingleFlight(services.store.check),
            "database": SingleFlight(services.repository.check),
            "broker": SingleFlight(lambda: services.broker.declare([EVENTS_QUEUE])),
        }

    def check(self) -> dict[str, str]:
        """Return whether each is `ok` or `away`."""
        until = time.monotonic() + _PATIENCE_SECS
        answers = {name: question.ask() for name, question in self._checks.items()}
        return {name: _wait(name, answer, until) for name, answer in answers.items()}


def _wait(name: str, answer: Future[None], until: float) -> str:
    try:
        answer.result(max(0.0, until - time.monotonic()))
    except UnavailableError as error:
        log.debug("%s is away: %s", name, error.message)  # whoever needs it says so; a probe asks again and again
        return "away"
    except TimeoutError:
        return "away"
    return "ok"
