"""Single flight: calls to dependencies that may hang, each running at most once at a time; readiness by such calls."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from penstock.common.model.errors import BrokenSetupError, UnavailableError
from penstock.common.registry import all_queues
from penstock.coordinator.api.services import Services

T = TypeVar("T")
log = logging.getLogger(__name__)


class SingleFlight(Generic[T]):
    """Runs a call in a thread; callers that come while it runs share its result. May be used from any thread."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def start(self) -> Future[T]:
        """Return the future of the call that is running, or of a new one."""
        with self._lock:
            if self._running is None:
                self._running = Future()
                # A daemon thread, so that a call that hangs does not keep the process from exiting.
                threading.Thread(target=self._run, args=(self._running,), name="single-flight", daemon=True).start()
            return self._running

    def _run(self, future: Future[T]) -> None:
        try:
            future.set_result(self._call())
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._lock:
                self._running = None


def gather(
    flights: Mapping[str, SingleFlight[T]], timeout_secs: float, problems: dict[str, str] | None = None
) -> dict[str, T]:
    """Run calls at the same time; return the results of those that succeed in time.

    A call that takes longer or raises UnavailableError is left out; `problems` gets the message of a BrokenSetupError.
    """
    futures = {name: flight.start() for name, flight in flights.items()}
    wait(futures.values(), timeout_secs)
    results = {}
    for name, future in futures.items():
        if future.done():
            try:
                results[name] = future.result()
            except UnavailableError as error:
                log.debug("%s unreachable: %s", name, error.message)  # a probe asks again and again
                if problems is not None and isinstance(error, BrokenSetupError):
                    problems[name] = error.message
    return results


class Readiness:
    """Checks what is needed to accept jobs: store, database and broker. May be used from any thread."""

    def __init__(self, services: Services) -> None:
        self._timeout_secs = services.check_timeout_secs
        self._checks = {
            "store": SingleFlight(services.store.check),
            "database": SingleFlight(services.repository.check),
            "broker": SingleFlight(lambda: services.broker.declare(all_queues())),
        }

        self._logged: dict[str, str] = {}

    def check(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return whether each dependency is `ok` or `away`, and what somebody has to do about those that stay away."""
        problems: dict[str, str] = {}
        answered = gather(self._checks, self._timeout_secs, problems)
        for name, message in problems.items():
            if self._logged.get(name) != message:
                log.error("%s: %s", name, message)
        self._logged = problems
        return {name: "ok" if name in answered else "away" for name in self._checks}, problems
