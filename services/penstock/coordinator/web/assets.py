"""Assets: the web page's files, read and packed once at the first request. No other file on disk can be requested.

Pages name them below a digest of all, so that browsers keep them for ever and never mix those of two versions.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penstock.coordinator.web.bundle import bundle

_FOLDER = Path(__file__).with_name("assets")
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""By suffix; other files, such as licences, are not served."""
_PACKED = frozenset({".woff2"})
_START = "app.js"
BUNDLE = "bundle.js"
"""All modules of the page in one."""
_PAGE = "index.html"
LOG_IN = "log-in.html"
"""The page for browsers that have yet to log in: it asks for no data ahead of its script, which would be refused."""
_PRELOAD = re.compile(r'\s*<link rel="preload"[^>]*>')
STYLES = "style/bundle.css"
"""All style sheets of the page in one."""
_SHEETS = re.compile(r'(?:\s*<link rel="stylesheet" href="web/(?:style/[\w-]+\.css)">)+')
_SHEET = re.compile(r'href="web/([^"]+)"')


@dataclass(frozen=True)
class Asset:
    """A file of the page. `etag` includes its quotes; `gzip` is the content packed, None if that is no smaller."""

    content: bytes
    media_type: str
    etag: str
    gzip: bytes | None = None


@cache
def read_assets() -> Mapping[str, Asset]:
    """Return every file of the page by its path, such as `views/job.js`, and the bundle of its modules."""
    files = {
        path.relative_to(_FOLDER).as_posix(): path.read_bytes()
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _MEDIA_TYPES
    }
    files[BUNDLE] = bundle(_START, lambda path: files[path].decode()).encode()
    files[_PAGE], files[STYLES] = _join_sheets(files)
    files[LOG_IN] = _PRELOAD.sub("", files[_PAGE].decode()).encode()
    digest = _digest(b"".join(hashlib.sha256(content).digest() for content in files.values()))[:16]
    for path in [path for path in files if path.endswith(".html")]:
        page = files[path].replace(b'"web/app.js"', b'"web/bundle.js"')
        files[path] = page.replace(b'"web/', f'"web/{digest}/'.encode())
    return {path: _make(path, content) for path, content in files.items()}


@cache
def assets_digest() -> str:
    """Return the first part of the paths that pages name."""
    return read_assets()["index.html"].content.partition(b'"web/')[2].partition(b"/")[0].decode()


def _join_sheets(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """Return the page with one style sheet, and this sheet, since browsers make only six requests at a time."""
    page = files[_PAGE].decode()
    links = _SHEETS.search(page)
    assert links is not None
    link = f'\n  <link rel="stylesheet" href="web/{STYLES}">'
    return page.replace(links[0], link).encode(), b"".join(files[path] for path in _SHEET.findall(links[0]))


def _make(path: str, content: bytes) -> Asset:
    suffix = Path(path).suffix
    packed = None if suffix in _PACKED else _gzip(content)
    return Asset(content, _MEDIA_TYPES[suffix], f'"{_digest(content)[:32]}"', packed)


def _gzip(content: bytes) -> bytes | None:
    """Return the same gzip for the same content everywhere: without a time."""
    packing = zlib.compressobj(9, wbits=31)
    packed = packing.compress(content) + packing.flush()
    return packed if len(packed) < len(content) else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
