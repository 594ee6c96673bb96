"""`/`, `/docs` and `/web/`: the web page, the page that describes the API, and their files."""

import re
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from penstock.coordinator.api.dependencies import SESSION_COOKIE, ServicesDep
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.web.assets import LOG_IN, Asset, assets_digest, read_assets

router = APIRouter(include_in_schema=False)

_ACCEPTS_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_OWN = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'"
_CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE_POLICY = f"{_OWN}; img-src 'self'%s; {_CLOSED}; require-trusted-types-for 'script'; trusted-types 'none'"
_DOCS_POLICY = f"{_OWN}; img-src 'self' data:; {_CLOSED}"
"""Swagger UI's style sheet has its icons as `data:` URLs."""


@router.get("/")
async def get_page(request: Request, services: ServicesDep) -> Response:
    """Return the web page. Besides this server's images, it may load those of the map."""
    tiles = services.map_tiles
    origin = " {0.scheme}://{0.netloc}".format(urlsplit(tiles.url)) if tiles else ""
    is_known = services.keys is None or SESSION_COOKIE in request.cookies
    return _send(request, read_assets()["index.html" if is_known else LOG_IN], _PAGE_POLICY % origin)


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    """Return the page that describes the REST API."""
    return _send(request, read_assets()["docs.html"], _DOCS_POLICY)


@router.get("/web/{path:path}")
async def get_asset(path: str, request: Request) -> Response:
    """Return a file of the pages. Below the digest that pages name, browsers keep it; elsewhere they ask again."""
    digest, _, rest = path.partition("/")
    is_named = digest == assets_digest()
    asset = read_assets().get(rest if is_named else path)
    if asset is None:
        raise not_found(f"file {path[:80]!a} of the web page")
    return _send(request, asset, None, keeps=is_named)


def _send(request: Request, asset: Asset, policy: str | None, *, keeps: bool = False) -> Response:
    packed = asset.gzip if _ACCEPTS_GZIP.search(request.headers.get("accept-encoding", "")) else None
    etag = asset.etag if packed is None else f'{asset.etag[:-1]}-gzip"'
    headers = {
        "ETag": etag,
        "Cache-Control": "public, max-age=31536000, immutable" if keeps else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if policy:
        headers["Content-Security-Policy"] = policy
    if request.headers.get("if-none-match", "").removeprefix("W/") == etag:  # nginx makes it weak by compressing
        return Response(status_code=304, headers=headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(asset.content if packed is None else packed, media_type=asset.media_type, headers=headers)
