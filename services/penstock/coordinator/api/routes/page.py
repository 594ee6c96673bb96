"""`/`, `/docs` and `/web/`: the web page, the page that describes the API, and their files."""

from fastapi import APIRouter, Request, Response

from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.web.assets import Asset, read_assets

router = APIRouter(include_in_schema=False)

_OWN = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'"
_CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE_POLICY = f"{_OWN}; img-src 'self'; {_CLOSED}; require-trusted-types-for 'script'; trusted-types 'none'"
_DOCS_POLICY = f"{_OWN}; img-src 'self' data:; {_CLOSED}"
"""Swagger UI's style sheet has its icons as `data:` URLs."""


@router.get("/")
async def get_page(request: Request) -> Response:
    """Return the web page."""
    return _send(request, read_assets()["index.html"], _PAGE_POLICY)


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    """Return the page that describes the REST API."""
    return _send(request, read_assets()["docs.html"], _DOCS_POLICY)


@router.get("/web/{path:path}")
async def get_asset(path: str, request: Request) -> Response:
    """Return a file of the pages."""
    asset = read_assets().get(path)
    if asset is None:
        raise not_found(f"file {path[:80]!a} of the web page")
    return _send(request, asset, None)


def _send(request: Request, asset: Asset, policy: str | None) -> Response:
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
    if policy:
        headers["Content-Security-Policy"] = policy
    if request.headers.get("if-none-match", "").removeprefix("W/") == asset.etag:  # nginx makes it weak by compressing
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
