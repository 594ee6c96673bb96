"""`/session`: a browser logs in with an API key, asks who it is, and logs out."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import ValidationError

from penstock.common.model.errors import RequestError
from penstock.common.model.rest import Login, Session
from penstock.coordinator.api.routes.common import ServicesDep, media_type, refusals, unsupported_body
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth import sessions
from penstock.coordinator.auth.access import CallerDep, unauthorised
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.job_requests import read_json
from penstock.coordinator.intake.request_bodies import BufferedBody, receive
from penstock.coordinator.ports.refusals import invalid_document

router = APIRouter(prefix="/session", tags=["system"])

_FORM = "application/x-www-form-urlencoded"
_MAX_BYTES = 4_096


_LOGIN_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": Login.model_json_schema()} for kind in ("application/json", _FORM)},
    }
}


@router.get("", summary="Who am I?", responses=refusals())
async def show_session(services: ServicesDep, caller: CallerDep) -> Session:
    """Return the name of the key that the request brings; 401 where it has to bring one."""
    return _view(services, caller)


@router.post(
    "",
    summary="Log in",
    openapi_extra=_LOGIN_BODY,
    responses={
        200: {"model": Session, "description": "Logged in: the answer sets a cookie"},
        303: {"description": "A form's way to the web page"},
        **refusals(400, 413, 415, 422),
    },
)
async def log_in(request: Request, services: ServicesDep) -> Response:
    """Log a browser in: `{"key": "pk_…"}` as JSON, or as a form, gives it a cookie that stands for the key."""
    kind = media_type(request)
    if kind not in ("application/json", _FORM):
        raise unsupported_body(kind, f"application/json or {_FORM}")
    as_form = kind == _FORM
    recipient = BufferedBody(
        lambda data: _log_in(request, services, _read_login(data, as_form=as_form), as_form=as_form)
    )
    return await receive(request, recipient, _MAX_BYTES)


@router.delete("", status_code=204, summary="Log out", responses=refusals())
def log_out(request: Request, services: ServicesDep) -> Response:
    """End the browser's session and take its cookie away."""
    answer = Response(status_code=204)
    token = request.cookies.get(sessions.COOKIE)
    if token is not None:
        sessions.end_session(services.repository, token)
        sessions.drop_cookie(request, answer)
    return answer


def _log_in(request: Request, services: Services, login: Login, *, as_form: bool) -> Response:
    key = services.keys.find(login.key.strip()) if services.keys else None
    if services.keys is not None and key is None:
        raise unauthorised("the API key is none of this server's")
    view = _view(services, Caller(key)).model_dump()
    answer = RedirectResponse("/", 303) if as_form else JSONResponse(view)
    if key is not None:
        token = sessions.begin_session(services.repository, key, services.session_secs)
        sessions.set_cookie(request, answer, token, services.session_secs)
    return answer


def _read_login(data: bytes, *, as_form: bool) -> Login:
    document = _read_form(data) if as_form else read_json(data)
    try:
        return Login.model_validate(document)
    except ValidationError as error:
        raise invalid_document(error, document) from error


def _read_form(data: bytes) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(data.decode()).items()}
    except ValueError as error:
        raise RequestError(400, "invalid_form", "the form is not UTF-8") from error


def _view(services: Services, caller: Caller) -> Session:
    key = caller.key
    return Session(open=services.keys is None, name=key.name if key else None, admin=key is None or key.admin)
