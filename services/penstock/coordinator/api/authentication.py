"""Authentication: the dependency of every route that identifies the caller by an API key or a session.

Every route needs a key except those named here.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from penstock.common.model.errors import RequestError
from penstock.coordinator.api.middleware import SAFE_METHODS
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import ApiKey, Keys, hash_token
from penstock.coordinator.auth.quotas import ANYBODY, Caller

SESSION_COOKIE = "penstock_session"

_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/", "/web/{path:path}", "/docs"})
"""Probes, and pages without anyone's data."""

_OPEN_TO_MONITORING = frozenset({"/metrics", "/v1/backlog"})
"""Open to Prometheus and autoscalers on the coordinator's own port, closed behind the public nginx."""

_LOGIN = ("POST", "/session")


async def authenticate(request: Request) -> Caller:
    """Return the caller.

    Raises:
        RequestError: 401 without a valid key or session; 403 for a change by cookie from another page.
    """
    services: Services = request.app.state.services
    if services.keys is None:
        return ANYBODY
    key = await _find_key(request, services, services.keys)
    if key is None and not _is_open(request):
        raise unauthorized("this server needs an API key; send Authorization: Bearer pk_…")
    return Caller(key)


CallerDep = Annotated[Caller, Depends(authenticate)]


def unauthorized(message: str) -> RequestError:
    """Return the refusal of a request without a valid key."""
    return RequestError(401, "unauthorized", message)


async def _find_key(request: Request, services: Services, keys: Keys) -> ApiKey | None:
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        key = keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None and not _is_open(request):
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
