"""`/v1/jobs/{job}/events`: a job's progress as server-sent events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.coordinator.api.routes.common import ServicesDep, find_job, refusals
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import view_image, view_job
from penstock.coordinator.auth.access import CallerDep
from penstock.coordinator.auth.quotas import Caller, Streams
from penstock.coordinator.ports.repository import Image, Job

router = APIRouter(prefix="/v1/jobs/{job}", tags=["jobs"])

_INTERVAL_SECS = 0.25
_FAILURES_AT_ONCE = 200
_PROGRESS_FIELDS = {"id", "state", "images", "steps", "images_per_second", "eta_seconds", "bottleneck"}
_log = logging.getLogger(__name__)


def _known_job(job: str, services: ServicesDep, caller: CallerDep) -> str:
    return find_job(services.repository, job, caller).id


def _last_failure(
    last_event_id: Annotated[str, Header(description="The last failure that was seen; resumes after it")] = "0",
) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 16):
        raise RequestError(400, "invalid_last_event_id", f"{last_event_id[:40]!a} is not the id of an event here")
    return int(last_event_id)


async def _one_stream(request: Request, caller: CallerDep) -> AsyncIterator[None]:
    """Hold one of the caller's streams until it has been sent."""
    streams = request.app.state.streams
    assert isinstance(streams, Streams)
    with streams.hold(caller.owner):
        yield


@router.get(
    "/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses=refusals(400, 404, 429),
    dependencies=[Depends(_one_stream)],
)
async def follow_job(
    job: Annotated[str, Depends(_known_job)],
    seen: Annotated[int, Depends(_last_failure)],
    services: ServicesDep,
    caller: CallerDep,
) -> AsyncIterable[ServerSentEvent]:
    """Send `progress` when something moved, at most four times a second, `image-failed` for every failure, and `end`.

    The ids of `image-failed` count the job's failures, so that a client that reconnects misses none and sees none
    twice.
    """
    shown: dict[str, Any] | None = None
    try:
        while not services.leaving.is_set():
            found, failed = await run_in_threadpool(_look, services, caller, job, seen)
            if found is None:
                return
            for image in failed:
                seen = image.failure_number or seen
                yield ServerSentEvent(data=view_image(found, image), event="image-failed", id=str(seen))
            if len(failed) == _FAILURES_AT_ONCE:
                continue
            view = view_job(found, services.engine)
            progress = view.model_dump(mode="json", include=_PROGRESS_FIELDS)
            if progress != shown:
                shown = progress
                yield ServerSentEvent(data=progress, event="progress")
            if view.has_ended:
                yield ServerSentEvent(data=progress, event="end")
                return
            await asyncio.sleep(_INTERVAL_SECS)
    except UnavailableError as error:
        # The stream has begun, so there is no status left to answer with; clients reconnect by themselves.
        _log.warning("events end early: %s", error.message, extra={"job": job})


def _look(services: Services, caller: Caller, job: str, seen: int) -> tuple[Job | None, list[Image]]:
    found = services.repository.get_job(job, caller.scope)
    if found is None or found.failures_seen <= seen:
        return found, []
    return found, services.repository.list_failures(job, after=seen, limit=_FAILURES_AT_ONCE)
