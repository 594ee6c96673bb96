"""Dependencies of the routes: the services, and the job that a URL names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request
from python_multipart.multipart import parse_options_header

from penstock.common.model.errors import RequestError
from penstock.coordinator.api.authentication import CallerDep
from penstock.coordinator.api.services import Services
from penstock.coordinator.intake.job_service import JobService
from penstock.coordinator.ports.ids import is_id
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Job


async def _services(request: Request) -> Services:  # a coroutine, which needs no thread
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def _job_service(request: Request) -> JobService:
    job_service: JobService = request.app.state.job_service
    return job_service


JobServiceDep = Annotated[JobService, Depends(_job_service)]


def _find_job(job: Annotated[str, Path(description="The job's id")], services: ServicesDep, caller: CallerDep) -> Job:
    found = services.repository.get_job(job, caller.scope) if is_id(job) else None
    if found is None:
        raise not_found(f"job {job[:40]!a}")
    return found


JobDep = Annotated[Job, Depends(_find_job)]
"""The job of the URL, if the caller may see it; 404 otherwise."""


def check_media_type(request: Request, *accepted: str) -> str:
    """Return the media type of a request's body, without parameters.

    Raises:
        RequestError: 415 for one that is not accepted.
    """
    given = parse_options_header(request.headers.get("content-type"))[0].decode("latin-1")
    if given not in accepted:
        shown = ascii(given[:60]) if given else "a body without Content-Type"
        raise RequestError(
            415, "unsupported_media_type", f"{shown} is not accepted here; accepted is {' or '.join(accepted)}"
        )
    return given
