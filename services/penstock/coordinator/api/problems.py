"""Errors as customers see them: RFC 9457 `application/problem+json`, never a traceback, a path or a secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.rest import Problem

MEDIA_TYPE = "application/problem+json"
BUSY_RETRY_SECS = 5
_NOT_THERE = object()
_log = logging.getLogger(__name__)


def problem(
    status: int, code: str, detail: str, pointer: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the answer that refuses a request."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, pointer=pointer)
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status,
        {"X-Content-Type-Options": "nosniff", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def not_found(what: str) -> RequestError:
    """Return the refusal for something that does not exist."""
    return RequestError(404, "not_found", f"there is no {what}")


def conflict(code: str, why: str) -> RequestError:
    """Return the refusal of a change that the present state does not allow."""
    return RequestError(409, code, why)


def refuse_document(error: ValidationError, document: Any) -> RequestError:
    """Return the refusal of a document that a model does not accept, with a pointer to the first fault."""
    faults = error.errors(include_url=False, include_context=False)
    paths = [list(_known_path(fault["loc"], document, fault["type"])) for fault in faults]
    # Where several forms are accepted, each brings its fault; the one that got furthest is the one that was meant.
    path, fault = max(zip(paths, faults, strict=True), key=lambda found: len(found[0]))
    pointer = "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path) if path else None
    where = ".".join(path) or "the document"
    if fault["type"] == "extra_forbidden":
        return RequestError(422, "unknown_field", f"{where}: this field is not known", pointer)
    kept = fault["type"] == "missing" or path[-1:] in (["secret"], ["key"])
    given = "" if kept else f", but {_shown(fault['input'])} was given"
    return RequestError(422, "invalid_document", f"{where}: {fault['msg']}{given}", pointer)


def add_handlers(app: FastAPI) -> None:
    """Make an application answer every error with a problem document."""
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(UnavailableError, _unavailable)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _request_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return problem(error.status, error.code, error.message, error.pointer, _headers_of(error))


def _headers_of(error: RequestError) -> dict[str, str]:
    if error.status == 401:
        return {"WWW-Authenticate": 'Bearer realm="penstock"'}
    wait_secs = getattr(error, "retry_after_secs", BUSY_RETRY_SECS)
    return {"Retry-After": str(wait_secs)} if error.status in (429, 503) else {}


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UnavailableError)
    _log.warning("%s: %s", error.what, error.message)
    wait = str(error.retry_after_secs)
    return problem(
        503, "unavailable", f"the {error.what} is away; try again in {wait} s", headers={"Retry-After": wait}
    )


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    known = {
        404: ("not_found", f"there is nothing at {path}"),
        405: ("method_not_allowed", f"{path} does not take {request.method}"),
    }
    code, detail = known.get(error.status_code, ("refused", str(error.detail)))
    return problem(error.status_code, code, detail, headers=error.headers)


def _invalid_parameter(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    kind, *names = first["loc"]
    where = f"{kind} parameter {'.'.join(str(name) for name in names)}"
    given = "" if first["type"] == "missing" else f", but {_shown(first['input'])} was given"
    return problem(422, "invalid_parameter", f"{where}: {first['msg']}{given}")


def _gone(_: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


def _unexpected(_: Request, _error: Exception) -> JSONResponse:
    # Starlette raises it again once the answer is sent, so the server logs it with its traceback.
    return problem(500, "internal", "an unexpected error; it was logged")


def _known_path(location: Sequence[int | str], document: Any, kind: str) -> Iterator[str]:
    """Follow a validation error into the document; names that only the model knows (of unions) are left out."""
    for index, part in enumerate(location):
        missing = kind == "missing" and index == len(location) - 1 and isinstance(document, dict)
        if not missing:
            inner = _step_into(document, part)
            if inner is _NOT_THERE:
                continue
            document = inner
        yield str(part)


def _step_into(document: Any, part: int | str) -> Any:
    if isinstance(document, dict):
        return document.get(part, _NOT_THERE)
    if isinstance(document, list) and isinstance(part, int) and part < len(document):
        return document[part]
    return _NOT_THERE


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
