"""Waiting: for the end of a job, while the client stays and the time is not up."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from penstock.common.backoff import Backoff
from penstock.common.model.errors import RequestError
from penstock.coordinator.api.services import Services

T = TypeVar("T")

_LEADER_LOOKS = Backoff(first_secs=0.1, max_secs=1.0, factor=10.0, jitter=0)
"""The leader is told when a job has ended; it looks nevertheless, should it lose its leadership."""
_FOLLOWER_LOOKS = Backoff(first_secs=0.005, max_secs=0.25, factor=1.5, jitter=0)
"""Other coordinators find out by looking."""


async def wait_for_end(
    request: Request | None, services: Services, job: str, secs: float, look: Callable[[], T | None]
) -> T | None:
    """Return what `look` returns once the job has ended, and None after `secs`.

    `look` reads the database, in a thread, and returns None while the job has not ended. The request's body must have
    been read. Without a request, nobody can leave.

    Raises:
        ClientDisconnect: the client left.
        RequestError: 503 if this server stops.
    """
    loop, wake = asyncio.get_running_loop(), asyncio.Event()
    deadline = time.monotonic() + secs
    looks = 0
    leaving: asyncio.Task[None] | None = None
    try:
        with services.job_ends.watch(job, lambda: loop.call_soon_threadsafe(wake.set)):
            while (left_secs := deadline - time.monotonic()) > 0:
                looks_secs = _LEADER_LOOKS if services.counters.is_leader else _FOLLOWER_LOOKS
                await _wait(wake, min(looks_secs.delay_secs(looks), left_secs))
                looks += 1
                if leaving is not None and leaving.done():
                    raise ClientDisconnect
                found = await run_in_threadpool(look)
                if found is not None:
                    return found
                if services.stopping.is_set():
                    raise RequestError(503, "stopping", "this server is being stopped; try again")
                if leaving is None and request is not None:  # not before: most jobs have ended by now
                    leaving = asyncio.create_task(wait_until_left(request))
                    leaving.add_done_callback(lambda _: wake.set())
            return None
    finally:
        if leaving is not None:
            leaving.cancel()


async def _wait(wake: asyncio.Event, secs: float) -> None:
    """Return when the event is set, and clear it, or after some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(secs):
            await wake.wait()
    wake.clear()


async def wait_until_left(request: Request) -> None:
    """Return once the client has left. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class Preferences:
    """What a `Prefer` header (RFC 7240) says: seconds to wait at most, and whether the answer may be 202 after that."""

    wait_secs: float | None = None
    respond_async: bool = False

    def headers(self) -> dict[str, str]:
        """Return the header that tells which preferences were honoured."""
        shown = ["respond-async"] if self.respond_async else []
        if self.wait_secs is not None:
            shown.append(f"wait={self.wait_secs:g}")
        return {"Preference-Applied": ", ".join(shown)} if shown else {}


def read_preferences(header: str | None, max_secs: float) -> Preferences:
    """Read a `Prefer` header; `wait` is shortened to `max_secs`, and other preferences are ignored.

    Raises:
        RequestError: 400 for a `wait` that is no number of seconds.
    """
    wait_secs, respond_async = None, False
    for given in (header or "").split(","):
        name, _, value = given.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            respond_async = True
        elif name == "wait" and wait_secs is None:
            if not re.fullmatch("[0-9]{1,9}", value):
                raise RequestError(400, "invalid_preference", f"Prefer: wait={value[:40]!a}; accepted is wait=SECONDS")
            wait_secs = min(float(value), max_secs)
    return Preferences(wait_secs, respond_async)
