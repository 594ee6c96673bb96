"""Sessions: browsers that are logged in. Each has a random token in a cookie; the database keeps the token's hash.

Unlike a signed cookie, a session is known to every coordinator, ends at logout and needs no shared secret. It also ends
when its API key is removed.
"""

from __future__ import annotations

import secrets
import time

from penstock.coordinator.auth.keys import ApiKey, Keys, hash_token
from penstock.coordinator.ports.repository import Repository


def begin_session(repository: Repository, key: ApiKey, lifetime_secs: float) -> str:
    """Log a browser in with a key; return the token for its cookie."""
    token, now = secrets.token_urlsafe(32), time.time()
    repository.begin_session(hash_token(token), key.hash, now, now + lifetime_secs)
    return token


def find_session(repository: Repository, keys: Keys, token: str) -> ApiKey | None:
    """Return the key that a browser is logged in with; None if its session is unknown or has expired."""
    key_hash = repository.find_session(hash_token(token), time.time())
    return None if key_hash is None else keys.find_hash(key_hash)


def end_session(repository: Repository, token: str) -> None:
    """Log a browser out."""
    repository.end_session(hash_token(token))
