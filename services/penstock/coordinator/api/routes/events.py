"""`/v1/jobs/{job}/events`: a job's progress as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.coordinator.api.dependencies import CallerDep, JobDep, ServicesDep
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import view_image, view_job
from penstock.coordinator.auth.quotas import LongRequests
from penstock.coordinator.ports.repository import Image, Job, Scope

router = APIRouter(prefix="/v1/jobs/{job}", tags=["jobs"])

_INTERVAL_SECS = 0.25
_FAILURES_AT_ONCE = 200
_PROGRESS_FIELDS = {
    *("id", "state", "images", "steps", "images_per_second", "eta_seconds", "forecast", "bottleneck"),
    *("waiting_for", "failures", "throughput"),
}
_log = logging.getLogger(__name__)


def _last_failure(
    last_event_id: Annotated[
        str,
        Header(
            description="The last failure received; the stream resumes after it",
            json_schema_extra={"pattern": "^[0-9]{1,15}$"},
        ),
    ] = "0",
) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 16):
        raise RequestError(400, "invalid_last_event_id", f"{last_event_id[:40]!a} is not an event id of this stream")
    return int(last_event_id)


async def _hold_stream(request: Request, caller: CallerDep) -> AsyncIterator[None]:
    """Count the stream among the caller's until it has ended."""
    streams: LongRequests = request.app.state.streams
    with streams.hold(caller.owner):
        yield


@router.get(
    "/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses=error_responses(400, 404, 429),
    dependencies=[Depends(_hold_stream)],
)
async def follow_job(
    job: JobDep, seen: Annotated[int, Depends(_last_failure)], services: ServicesDep, caller: CallerDep
) -> AsyncIterable[ServerSentEvent]:
    """Send `progress` after a change, at most four times a second; `image-failed` for every failure; `end` last.

    The ids of `image-failed` count the job's failures: a client that reconnects gets each of them once.
    """
    shown: dict[str, Any] | None = None
    try:
        while not services.stopping.is_set():
            found, failed = await run_in_threadpool(_read, services, caller.scope, job.id, seen)
            if found is None:
                return
            for image in failed:
                seen = image.failure_number or seen
                yield ServerSentEvent(data=view_image(found, image), event="image-failed", id=str(seen))
            if failed:  # there may be more
                continue
            view = view_job(found, services.scheduler)
            progress = view.model_dump(mode="json", include=_PROGRESS_FIELDS)
            if progress != shown:
                shown = progress
                yield ServerSentEvent(data=progress, event="progress")
            if view.has_ended:
                yield ServerSentEvent(data=progress, event="end")
                return
            await asyncio.sleep(_INTERVAL_SECS)
    except UnavailableError as error:
        # The status has been sent already; clients reconnect by themselves.
        _log.warning("event stream aborted: %s", error.message, extra={"job": job.id})


def _read(services: Services, scope: Scope, job: str, seen: int) -> tuple[Job | None, list[Image]]:
    """Return a job and its failures after those seen."""
    found = services.repository.get_job(job, scope)
    if found is None or found.failures_seen <= seen:
        return found, []
    return found, services.repository.list_failures(job, after=seen, limit=_FAILURES_AT_ONCE)
