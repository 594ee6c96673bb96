"""Problem documents: every error as `application/problem+json` (RFC 9457), without tracebacks, paths or secrets."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from penstock.common.model.errors import FullError, RequestError, UnavailableError
from penstock.common.model.rest import Problem
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.wording.faults import explain
from penstock.coordinator.ports.refusals import BUSY_RETRY_SECS, not_found
from penstock.coordinator.ports.repository import JobNotFoundError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


def problem(
    status: int, code: str, detail: str, pointer: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a problem document as a response."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, pointer=pointer)
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status,
        {"X-Content-Type-Options": "nosniff", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def add_handlers(app: FastAPI) -> None:
    """Make an application answer every error with a problem document."""
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(JobNotFoundError, _job_not_found)
    app.add_exception_handler(ObjectNotFoundError, _object_not_found)
    app.add_exception_handler(UnavailableError, _unavailable)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    app.add_exception_handler(Exception, _unexpected)


def _request_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="penstock"'
    if error.status in (429, 503):
        headers["Retry-After"] = str(getattr(error, "retry_after_secs", BUSY_RETRY_SECS))
    return problem(error.status, error.code, error.message, error.pointer, headers)


def _job_not_found(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, JobNotFoundError)  # it was deleted while the request was handled
    return _request_error(request, not_found(f"job {error}"))


def _object_not_found(request: Request, _error: Exception) -> JSONResponse:
    return _request_error(request, not_found("such file any more"))


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UnavailableError)
    wait = str(error.retry_after_secs)
    if isinstance(error, FullError):
        _log.warning("request refused: %s", error.message)
        return problem(507, "full", f"{error.message}; deleting still works", headers={"Retry-After": wait})
    _log.warning("%s unreachable: %s", error.what, error.message)
    detail = f"the {error.what} is unreachable; try again in {wait} s"
    return problem(503, "unavailable", detail, headers={"Retry-After": wait})


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    known = {
        404: ("not_found", f"there is nothing at {path}"),
        405: ("method_not_allowed", f"{path} does not accept {request.method}"),
    }
    code, detail = known.get(error.status_code, ("refused", str(error.detail)))
    headers = {"Allow": _allowed_methods(request)} if error.status_code == 405 else error.headers
    return problem(error.status_code, code, detail, headers=headers)


def _allowed_methods(request: Request) -> str:
    """Return the methods of all routes with the request's path; the router knows those of the first one alone."""
    methods: set[str] = set()
    for path, accepted in request.app.state.methods:
        if path.match(request.url.path):
            methods |= accepted
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _invalid_parameter(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    kind, *names = first["loc"]
    where = f"{kind} parameter {'.'.join(str(name) for name in names)}"
    return problem(422, "invalid_parameter", f"{where}: {explain(first)}")


def _client_disconnected(_: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def _unexpected(_: Request, _error: Exception) -> JSONResponse:
    # Starlette raises the error again after the answer, so that the server logs its traceback.
    return problem(500, "internal", "unexpected error; the server has logged it")
