"""Authentication: the dependency of every route that identifies the caller.

A route needs a key unless `_OPEN` names it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from penstock.common.model.errors import RequestError
from penstock.coordinator.api.middleware.same_origin import SAFE_METHODS
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.keys import ApiKey, Keys
from penstock.coordinator.auth.quotas import ANYBODY, Caller
from penstock.coordinator.auth.sessions import COOKIE, find_session

_OPEN = frozenset({"/healthz", "/readyz", "/", "/web/{path:path}", "/docs"})
"""Probes, and pages that hold nothing of anybody's."""

_OPEN_TO_MACHINES = frozenset({"/metrics", "/v1/backlog"})
"""For Prometheus and autoscalers, on the coordinator's own port. Through the front door they want a key."""

_LOGIN = ("POST", "/session")


async def admit(request: Request) -> Caller:
    """Return who calls.

    Raises:
        RequestError: 401 without a key, 403 for a change that a browser's cookie alone asks for.
    """
    services: Services = request.app.state.services
    if services.keys is None:
        return ANYBODY
    key = await _find_key(request, services, services.keys)
    if key is None and not _is_open(request):
        raise unauthorised("this server asks for an API key: Authorization: Bearer pk_…")
    return Caller(key)


CallerDep = Annotated[Caller, Depends(admit)]


def unauthorised(why: str) -> RequestError:
    """Return the refusal of a request without a key that counts."""
    return RequestError(401, "unauthorized", why)


async def _find_key(request: Request, services: Services, keys: Keys) -> ApiKey | None:
    """Return the key that a request brings, in its header or by its cookie."""
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        key = keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None and not _is_open(request):
            raise unauthorised("the API key is none of this server's; accepted is Authorization: Bearer pk_…")
        return key
    session = request.cookies.get(COOKIE)
    if session is None or _is_open(request):
        return None
    _check_own_page(request)
    return await run_in_threadpool(find_session, services.repository, keys, session)


def _check_own_page(request: Request) -> None:
    """Refuse a change that a browser may have been made to ask for, since it sends its cookie by itself.

    That Origin is this server's own, `SameOrigin` has seen to.
    """
    headers = request.headers
    own = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"
    if request.method not in SAFE_METHODS and not own:
        raise RequestError(
            403, "not_own_page", "a cookie alone changes nothing; accepted is it from this server's own page, or a key"
        )


def _is_open(request: Request) -> bool:
    path = request.scope["route"].path
    if path in _OPEN_TO_MACHINES:
        return "x-penstock-front" not in request.headers
    return path in _OPEN or (request.method, path) == _LOGIN
