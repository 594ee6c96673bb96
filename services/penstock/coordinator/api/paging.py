"""Cursors: where the next page begins, opaque to customers."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from typing import Annotated

from fastapi import Query

from penstock.common.model.errors import RequestError
from penstock.coordinator.ports.ids import is_id

MAX_LIMIT = 1_000

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most entries of a page; it may hold fewer")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="Where the page begins: `cursor` of the page before it")
]


def write_cursor(*position: object) -> str:
    """Return the cursor for a position."""
    return urlsafe_b64encode(".".join(map(str, position)).encode()).decode().rstrip("=")


def read_job_cursor(cursor: str | None) -> str | None:
    """Return the id of the job before the page.

    Raises:
        RequestError: 400 for what is no cursor of ours.
    """
    if cursor is None:
        return None
    job = _read(cursor)
    if not is_id(job):
        raise _invalid(cursor)
    return job


def read_position(cursor: str | None, start: tuple[int, ...]) -> tuple[int, ...]:
    """Return the numbers of a cursor, as many as `start` has; `start` where there is no cursor.

    Raises:
        RequestError: 400 for what is no cursor of ours.
    """
    if cursor is None:
        return start
    parts = _read(cursor).split(".")
    if len(parts) != len(start) or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise _invalid(cursor)
    return tuple(map(int, parts))


def read_text(cursor: str) -> str:
    """Return the text of a cursor: a name.

    Raises:
        RequestError: 400 for what is no cursor of ours.
    """
    text = _read(cursor, "utf-8")
    if "\0" in text:
        raise _invalid(cursor)
    return text


def _read(cursor: str, encoding: str = "ascii") -> str:
    try:
        return b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode(encoding)
    except ValueError as error:
        raise _invalid(cursor) from error


def _invalid(cursor: str) -> RequestError:
    return RequestError(400, "invalid_cursor", f"{cursor[:40]!a} is not a cursor; accepted is one of a page here")
