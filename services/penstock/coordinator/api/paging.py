"""Paging: cursors that name the start of a page. Clients treat them as opaque; invalid ones raise RequestError 400."""

from base64 import b64decode, urlsafe_b64encode
from typing import Annotated, Any

from fastapi import Query

from penstock.common.model.errors import RequestError
from penstock.coordinator.ports.ids import is_id
from penstock.coordinator.ports.links import page_url

MAX_LIMIT = 1_000

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of entries; a page may have fewer")]
_CURSOR: dict[str, Any] = {
    "description": "The previous page's `cursor`",
    "json_schema_extra": {"pattern": "^[A-Za-z0-9_-]*$"},  # described only: others are refused with 400 as well
}
Cursor = Annotated[str | None, Query(max_length=200, **_CURSOR)]
NameCursor = Annotated[str | None, Query(max_length=2_000, **_CURSOR)]


def next_page(cursor: str | None, path: str, /, **query: object) -> dict[str, Any]:
    """Return the fields `cursor` and `next` that lead to the next page; None after the last page."""
    return {"cursor": cursor, "next": cursor and page_url(path, **query, cursor=cursor)}


def write_cursor(*position: object) -> str:
    """Return the cursor for a position."""
    return urlsafe_b64encode(".".join(map(str, position)).encode()).decode().rstrip("=")


def read_job_cursor(cursor: str | None) -> str | None:
    """Return the id of the last job of the previous page."""
    if cursor is None:
        return None
    job = read_name_cursor(cursor)
    if not is_id(job):
        raise _invalid(cursor)
    return job


def read_position(cursor: str | None, start: tuple[int, ...]) -> tuple[int, ...]:
    """Return the numbers of a cursor, as many as `start` has; `start` if there is no cursor."""
    if cursor is None:
        return start
    parts = read_name_cursor(cursor).split(".")
    if len(parts) != len(start) or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise _invalid(cursor)
    return tuple(map(int, parts))


def read_name_cursor(cursor: str) -> str:
    """Return the name in a cursor."""
    try:
        text = b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError as error:
        raise _invalid(cursor) from error
    if "\0" in text:
        raise _invalid(cursor)
    return text


def _invalid(cursor: str) -> RequestError:
    return RequestError(400, "invalid_cursor", f"{cursor[:40]!a} is not a cursor; accepted is the `cursor` of a page")
