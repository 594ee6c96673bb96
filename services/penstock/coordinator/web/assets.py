"""Assets: the web page's files, read once at the first request. No other file on disk can be requested."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("assets")
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
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
    found = {}
    for path in _FOLDER.rglob("*"):
        if media_type := _MEDIA_TYPES.get(path.suffix):
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(_FOLDER).as_posix()] = Asset(content, media_type, etag)
    return found
