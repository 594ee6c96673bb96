"""Single flight: calls to dependencies that may hang, each running at most once at a time; readiness by such calls."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from penstock.common.model.errors import BrokenSetupError, FullError, UnavailableError
from penstock.common.registry import all_queues, broken_steps
from penstock.coordinator.api.services import Services

T = TypeVar("T")
log = logging.getLogger(__name__)
_MAKE_ROOM = "no jobs are accepted; delete some, or enlarge its volume (PENSTOCK_RESERVE_BYTES)"


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
            result = self._call()
        except BaseException as error:
            self._forget()
            future.set_exception(error)
        else:
            self._forget()
            future.set_result(result)

    def _forget(self) -> None:
        """Let the next caller start a new call. Done before the result is set, or that caller could get it again."""
        with self._lock:
            self._running = None


def gather(
    flights: Mapping[str, SingleFlight[T]], timeout_secs: float, errors: dict[str, UnavailableError] | None = None
) -> dict[str, T]:
    """Run calls at the same time; return the results of those that succeed in time.

    A call that takes longer or raises UnavailableError is left out; `errors` gets the latter.
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
                if errors is not None:
                    errors[name] = error
    return results


class Readiness:
    """Checks what is needed to accept jobs: store, database and broker. May be used from any thread.

    What is full can still be read, and what is deleted makes room. So the server stays ready: if a load balancer sent
    it no more requests, nobody could delete anything.
    """

    def __init__(self, services: Services) -> None:
        self._timeout_secs = services.check_timeout_secs
        self._checks = {
            "store": SingleFlight(services.store.check),
            "database": SingleFlight(services.repository.check),
            "broker": SingleFlight(lambda: services.broker.declare(all_queues())),
        }
        self._rooms = {"rooms": SingleFlight(services.reserve.rooms)}
        self._logged: dict[str, str] = {}

    def check(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the state of each dependency, and what somebody has to do about those that do not recover.

        The states are `ok`, `nearly full`, `full` and `away`. While one is full or nearly, no jobs are accepted. Steps
        that are switched off because they are broken are problems, too.
        """
        errors: dict[str, UnavailableError] = {}
        rooms = gather(self._rooms, self._timeout_secs).get("rooms", {})
        answered = gather(self._checks, self._timeout_secs, errors)
        states: dict[str, str] = {}
        problems: dict[str, str] = {}
        for name in self._checks:
            error, room = errors.get(name), rooms.get(name)
            states[name] = "ok" if name in answered else "away"
            if isinstance(error, BrokenSetupError):
                problems[name] = error.message
            elif isinstance(error, FullError):
                states[name], problems[name] = "full", f"{error.message}; {_MAKE_ROOM}"
            elif room is not None and room.is_low and name in answered:
                states[name], problems[name] = room.state, f"the {name} is {room}; {_MAKE_ROOM}"
        self._log(problems, states)
        broken = {f"step {name}": reason for name, reason in broken_steps().items()}  # logged at the start
        return states, problems | broken

    def _log(self, problems: Mapping[str, str], states: Mapping[str, str]) -> None:
        """Log each problem once, however many bytes are free meanwhile."""
        for name, message in problems.items():
            if name not in self._logged or self._logged[name] != states[name]:
                log.error("%s: %s", name, message)
        self._logged = {name: states[name] for name in problems}
