"""Assets: the web page's files, read once at the first request. No other file on disk can be requested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""By suffix; other files, such as licences, are not served."""


@dataclass(frozen=True)
class Asset:
    """A file of the page. `etag` includes its quotes."""

    content: bytes
    media_type: str
    etag: str


@cache
def read_assets() -> Mapping[str, Asset]:
    """Return every file of the page by its path, such as `views/job.js`."""
    return dict(_walk(files("penstock.coordinator.web").joinpath("assets"), ""))


def _walk(folder: Traversable, path: str) -> list[tuple[str, Asset]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{path}{entry.name}/")
        elif (suffix := entry.name.rpartition(".")[2]) in _MEDIA_TYPES:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((f"{path}{entry.name}", Asset(content, _MEDIA_TYPES[suffix], etag)))
    return found
