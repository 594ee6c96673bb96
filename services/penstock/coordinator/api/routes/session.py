"""`/session`: logs a browser in with an API key, shows the caller, and logs out.

Each browser has a random token in a cookie; the database keeps the token's hash. Unlike a signed cookie, a session is
known to every coordinator, ends at logout and needs no shared secret. It also ends when its API key is removed.
"""

import secrets
import time
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from penstock.common.model.errors import RequestError
from penstock.common.model.rest import Login, Session
from penstock.coordinator.api.dependencies import (
    SESSION_COOKIE,
    CallerDep,
    ServicesDep,
    check_media_type,
    note_unknown_key,
    unauthorized,
)
from penstock.coordinator.api.openapi import LOGIN_BODY, error_responses
from penstock.coordinator.api.request_body import MaxBytes, read_body
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import hash_token
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.job_requests import read_json
from penstock.coordinator.ports.links import at
from penstock.coordinator.ports.refusals import invalid_document

router = APIRouter(prefix="/session", tags=["session"])

_FORM = "application/x-www-form-urlencoded"
_MAX_BYTES = 4_096


@router.get("", summary="Get the caller", responses=error_responses())
async def get_session(services: ServicesDep, caller: CallerDep) -> Session:
    """Return the name of the request's API key; 401 if the server needs one and there is none."""
    return _view(services, caller)


@router.post(
    "",
    summary="Log in",
    openapi_extra=LOGIN_BODY,
    responses={
        200: {"model": Session, "description": "Logged in; the response sets a cookie"},
        303: {"description": "Logged in by a form; redirects to the web page"},
        **error_responses(400, 413, 415, 422),
    },
)
async def log_in(request: Request, services: ServicesDep) -> Response:
    """Give a browser a session cookie for an API key: `{"key": "pk_…"}` as JSON, or a form with the field `key`."""
    is_form = check_media_type(request, "application/json", _FORM) == _FORM
    data = await read_body(request, MaxBytes(_MAX_BYTES), services.idle_secs)
    document = _read_form(data) if is_form else read_json(data)
    try:
        login = Login.model_validate(document)
    except ValidationError as error:
        raise invalid_document(error, document, Login) from error
    key = services.keys.find(login.key.strip()) if services.keys else None
    if services.keys is not None and key is None:
        note_unknown_key(request, login.key.strip())
        raise unauthorized("this server does not know the API key")
    view = _view(services, Caller(key)).model_dump()
    response = RedirectResponse(at("/"), 303) if is_form else JSONResponse(view)
    if key is not None:
        token, now = secrets.token_urlsafe(32), time.time()
        expires_at = now + services.session_secs
        begin = services.repository.begin_session
        await run_in_threadpool(begin, hash_token(token), key.hash, now, expires_at, services.limits.max_sessions)
        response.set_cookie(
            SESSION_COOKIE,
            token,
            max_age=int(services.session_secs),
            path=at("/"),
            secure=_is_https(request),
            httponly=True,
            samesite="strict",
        )
    return response


@router.delete("", status_code=204, summary="Log out", responses=error_responses())
def log_out(request: Request, services: ServicesDep) -> Response:
    """End the browser's session and delete its cookie."""
    response = Response(status_code=204)
    token = request.cookies.get(SESSION_COOKIE)
    if token is not None:
        services.repository.end_session(hash_token(token))
        response.delete_cookie(
            SESSION_COOKIE, path=at("/"), secure=_is_https(request), httponly=True, samesite="strict"
        )
    return response


def _read_form(data: bytes) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(data.decode()).items()}
    except ValueError as error:
        raise RequestError(400, "invalid_form", "the form is not UTF-8") from error


def _view(services: Services, caller: Caller) -> Session:
    key = caller.key
    return Session(open=services.keys is None, name=key.name if key else None, admin=key is None or key.admin)


def _is_https(request: Request) -> bool:
    # A proxy that ends TLS says so in the header. A client that forges it only gets a cookie it cannot use.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").partition(",")[0].strip())
