"""What several routes need: the application's services, and the job a URL names."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from python_multipart.multipart import parse_options_header

from penstock.common.model.errors import RequestError
from penstock.coordinator.api.problems import MEDIA_TYPE
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.job_service import JobService
from penstock.coordinator.ports.ids import is_id
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Job, Repository

# Coroutines, so that they cost no hop to a thread.


async def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def _intake(request: Request) -> JobService:
    intake = request.app.state.intake
    assert isinstance(intake, JobService)
    return intake


ServicesDep = Annotated[Services, Depends(_services)]
IntakeDep = Annotated[JobService, Depends(_intake)]


def find_job(repository: Repository, job: str, caller: Caller) -> Job:
    """Return the job that a URL names, if the caller may see it.

    Raises:
        RequestError: 404.
    """
    found = repository.get_job(job, caller.scope) if is_id(job) else None
    if found is None:
        raise not_found(f"job {job[:40]!a}")
    return found


def media_type(request: Request) -> str:
    """Return the media type of a request's body, without parameters."""
    return parse_options_header(request.headers.get("content-type"))[0].decode("latin-1")


def unsupported_body(given: str, accepted: str) -> RequestError:
    """Return the refusal of a body's media type."""
    shown = ascii(given[:60]) if given else "no Content-Type"
    return RequestError(415, "unsupported_media_type", f"{shown} is not accepted here; accepted is {accepted}")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of the problems that a route may answer."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in (*statuses, 401, 503)}


_MEANINGS = {
    400: "Malformed",
    401: "No API key, or none of this server's",
    403: "A source that this server may not read",
    404: "Not there",
    408: "The client fell silent",
    409: "The present state does not allow it",
    413: "Too large",
    415: "Neither form nor JSON, or no image of an accepted type",
    416: "Not a part of the file",
    422: "Understood, but not possible",
    429: "Full; see Retry-After",
    503: "The broker, the store or the database is away; see Retry-After",
}
