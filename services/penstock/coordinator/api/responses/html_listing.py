"""HTML listings of folders: no scripts, all names escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from fastapi.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "td,th{padding:.1rem 1.5rem .1rem 0;text-align:left}td{overflow-wrap:anywhere}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; img-src 'self'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Entry:
    """A line of a listing: a link, and texts beside it."""

    name: str
    url: str
    notes: tuple[str, ...] = ()


def html_listing(title: str, entries: Iterable[Entry], *, up: str | None, following: str | None) -> HTMLResponse:
    """Return a page of entries with links to the parent folder and to the next page."""
    lines = [Entry("..", up)] if up else []
    rows = "".join(_row(entry) for entry in [*lines, *entries])
    more = f'<p><a rel="next" href="{escape(following)}">more</a></p>' if following else ""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><table>{rows}</table>{more}</body></html>\n",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "private, no-cache"},
    )


def _row(entry: Entry) -> str:
    cells = "".join(f"<td>{escape(note)}</td>" for note in entry.notes)
    return f'<tr><td><a href="{escape(entry.url)}">{escape(entry.name)}</a></td>{cells}</tr>'
