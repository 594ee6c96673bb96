"""Browsers that are logged in: each has a random token in a cookie, and the database its digest.

Kept there, and not in a signed cookie, so that every coordinator knows it, logging out ends it, and no secret has to be
shared. It ends as well when its key is taken away.
"""

from __future__ import annotations

import secrets
import time

from starlette.requests import Request
from starlette.responses import Response

from penstock.coordinator.auth.keys import ApiKey, Keys, hash_token
from penstock.coordinator.ports.repository import Repository

COOKIE = "penstock_session"


def begin_session(repository: Repository, key: ApiKey, lasts_secs: float) -> str:
    """Log a browser in with a key; return what its cookie holds."""
    token, now = secrets.token_urlsafe(32), time.time()
    repository.begin_session(hash_token(token), key.hash, now, now + lasts_secs)
    return token


def find_session(repository: Repository, keys: Keys, token: str) -> ApiKey | None:
    """Return the key that a cookie's browser is logged in with."""
    digest = repository.find_session(hash_token(token), time.time())
    return None if digest is None else keys.find_hash(digest)


def end_session(repository: Repository, token: str) -> None:
    """Log a browser out."""
    repository.end_session(hash_token(token))


def set_cookie(request: Request, response: Response, token: str, lasts_secs: float) -> None:
    """Give a browser its cookie, which no script reads and no other site's page makes it send."""
    response.set_cookie(
        COOKIE, token, max_age=int(lasts_secs), path="/", secure=_is_https(request), httponly=True, samesite="strict"
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Take a browser's cookie away."""
    response.delete_cookie(COOKIE, path="/", secure=_is_https(request), httponly=True, samesite="strict")


def _is_https(request: Request) -> bool:
    # Whoever speaks TLS to the browser says so in the header; who makes it up only closes a door to himself.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").partition(",")[0].strip())
