"""Dependencies of the routes: the services, the caller by API key or session, and the job and file that a URL names."""

import time
from typing import Annotated

from fastapi import Depends, Path, Request
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor

from penstock.common.model.errors import RequestError
from penstock.coordinator.api.middleware import SAFE_METHODS
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import ApiKey, Keys, hash_token
from penstock.coordinator.auth.quotas import ANYBODY, Caller
from penstock.coordinator.auth.refused_keys import RefusedKeys
from penstock.coordinator.intake.job_service import JobService
from penstock.coordinator.ports.ids import is_id
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import Job

SESSION_COOKIE = "penstock_session"

_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/", "/web/{path:path}", "/docs"})
"""Probes, and pages without anyone's data: all other routes need a key."""

_OPEN_TO_MONITORING = frozenset({"/metrics", "/v1/backlog"})
"""Open to Prometheus and autoscalers on the coordinator's own port, closed behind the public nginx."""

_LOGIN = ("POST", "/session")


async def _services(request: Request) -> Services:  # a coroutine, which needs no thread
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def authenticate(request: Request) -> Caller:
    """Return the caller.

    Raises:
        RequestError: 401 without a valid key or session; 403 for a change by cookie from another page.
    """
    services: Services = request.app.state.services
    if services.keys is None:
        request.state.owner = ANYBODY.owner
        return ANYBODY
    key = await _find_key(request, services, services.keys)
    if key is None and not _is_open(request):
        raise unauthorized("this server needs an API key; send Authorization: Bearer pk_…")
    caller = Caller(key)
    request.state.owner = caller.owner
    return caller


CallerDep = Annotated[Caller, Depends(authenticate)]


def note_unknown_key(request: Request, token: str) -> None:
    """Log that a request came with an API key that this server does not know."""
    refused: RefusedKeys = request.app.state.refused_keys
    address = request.client.host if request.client else "?"
    refused.note(token, address, request.headers.get("x-forwarded-for"))


def unauthorized(message: str) -> RequestError:
    """Return the refusal of a request without a valid key."""
    return RequestError(401, "unauthorized", message)


async def _job_service(request: Request) -> JobService:
    job_service: JobService = request.app.state.job_service
    return job_service


JobServiceDep = Annotated[JobService, Depends(_job_service)]


class _AnyPath(PathConvertor):
    """The rest of a path. With Starlette's own convertor, no route has a name with a line break, and that of an upload
    could lose one at its end; this one leaves it to the route to refuse them.
    """

    regex = "(?s:.*)"


register_url_convertor("file", _AnyPath())

FileName = Annotated[str, Path(description="The file's name, with its folders")]
"""The parameter `{name:file}` of a path."""
JobId = Annotated[str, Path(description="The job's id")]
ImageId = Annotated[int, Path(description="The image's id", ge=0, le=2**53)]


def find_job(job: JobId, services: ServicesDep, caller: CallerDep) -> Job:
    """Return the job of the URL if the caller may see it; raises RequestError 404 otherwise."""
    found = services.repository.get_job(job, caller.scope) if is_id(job) else None
    if found is None:
        raise not_found(f"job {job[:40]!a}")
    return found


JobDep = Annotated[Job, Depends(find_job)]
"""See `find_job`, which runs in a thread. A route that clients poll calls it from its own thread instead."""


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


async def _find_key(request: Request, services: Services, keys: Keys) -> ApiKey | None:
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        key = keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None and not _is_open(request):
            note_unknown_key(request, token.strip())
            raise unauthorized("this server does not know the API key; send Authorization: Bearer pk_…")
        return key
    session = request.cookies.get(SESSION_COOKIE)
    if session is None or _is_open(request):
        return None
    _check_same_page(request)
    key_hash = await run_in_threadpool(services.repository.find_session, hash_token(session), time.time())
    return None if key_hash is None else keys.find_hash(key_hash)


def _check_same_page(request: Request) -> None:
    """Refuse a change that another page may have made the browser send, since the browser adds the cookie itself.

    `SameOrigin` has checked already that an Origin is this server's own.
    """
    headers = request.headers
    is_same_page = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"
    if request.method not in SAFE_METHODS and not is_same_page:
        raise RequestError(
            403,
            "not_own_page",
            "a session cookie is accepted for changes from this server's own page only; send an API key instead",
        )


def _is_open(request: Request) -> bool:
    path = request.scope["route"].path
    if path in _OPEN_TO_MONITORING:
        return "x-penstock-front" not in request.headers
    return path in _OPEN_PATHS or (request.method, path) == _LOGIN
