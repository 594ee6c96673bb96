"""`/static/`: jobs, their input files and results as folders, for browsers and scripts."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from penstock.common.model.result_names import PARTS, ResultNames
from penstock.coordinator.api.dependencies import CallerDep, FileName, JobDep, ServicesDep
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.paging import Cursor, Limit, read_job_cursor, read_position, write_cursor
from penstock.coordinator.api.responses.file_responses import file_response, result_content, sent_content
from penstock.coordinator.api.responses.manifest import entries, first_after
from penstock.coordinator.ports.links import at, folders_url, page_url, result_url, sent_url, static_url
from penstock.coordinator.ports.refusals import not_found

router = APIRouter(prefix="/static", tags=["static"])

_LISTING: dict[str, Any] = {
    "response_class": HTMLResponse,
    "responses": {
        200: {"description": "A listing", "content": {"application/json": {}}},
        **error_responses(400, 404, 422),
    },
}
_FILE: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "The file",
            "content": {"image/jpeg": {}, "image/png": {}, "application/octet-stream": {}},
        },
        206: {"description": "The requested range"},
        304: {"description": "Not modified"},
        **error_responses(404, 416),
    },
}
_STYLE = """
:root{color-scheme:light dark;--ground:#f5f7f8;--surface:#fff;--line:#d3dbde;
--text:#182226;--faint:#55636a;--link:#0b6e75}
@media(prefers-color-scheme:dark){
:root{--ground:#0f1517;--surface:#172023;--line:#2f3d42;--text:#e4ecee;--faint:#a3b3b9;--link:#58c4cc}}
body{margin:0;background:var(--ground);color:var(--text);
font:14px/1.5 Inter,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
header,main{padding:.6rem max(1rem,50vw - 40rem)}
header{display:flex;gap:1.5rem;background:var(--surface);border-bottom:1px solid var(--line)}
header a{color:var(--faint);text-decoration:none}header a:first-child{color:var(--text);font-weight:650}
h1{font-size:1.4rem;overflow-wrap:anywhere}a{color:var(--link)}
table{width:100%;border-collapse:collapse;background:var(--surface);border:1px solid var(--line)}
td{padding:.4rem .9rem;border-top:1px solid var(--line);overflow-wrap:anywhere;color:var(--faint)}
td:first-child{width:60%}tr:hover{background:var(--ground)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
"""
_VIEWS = (("/", "Penstock"), ("/#/jobs", "Jobs"), ("/docs", "API"))
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; img-src 'self'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class _Line:
    """A line of a listing: a link, and texts beside it."""

    name: str
    url: str
    notes: tuple[str, ...] = ()


@router.get("", include_in_schema=False)
@router.get("/{job}", include_in_schema=False)
@router.get("/{job}/sent", include_in_schema=False)
@router.get("/{job}/processed", include_in_schema=False)
async def add_slash(request: Request) -> Response:
    """Redirect to the folder's URL with a slash."""
    return RedirectResponse(page_url(at(f"{request.url.path}/"), **request.query_params), 307)


@router.get("/", summary="List jobs as folders", **_LISTING)
def list_job_folders(
    request: Request, services: ServicesDep, caller: CallerDep, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List the folders of jobs, newest first: HTML for browsers, JSON with `Accept: application/json`."""
    jobs = services.repository.list_jobs(caller.scope, limit=limit + 1, before=read_job_cursor(cursor))
    following = (
        page_url(folders_url(), limit=limit, cursor=write_cursor(jobs[limit - 1].id)) if len(jobs) > limit else None
    )
    shown = jobs[:limit]
    if _wants_json(request):
        folders = [{"id": job.id, "name": job.name, "state": job.state, "url": static_url(job.id)} for job in shown]
        return JSONResponse({"jobs": folders, "next": following})
    lines = [
        _Line(f"{job.id}/", static_url(job.id), (job.name, job.state, f"{job.done} of {job.total}")) for job in shown
    ]
    return _html_listing(folders_url(), lines, up=at("/"), following=following)


@router.get("/{job}/", summary="Get a job's folder", **_LISTING)
def get_job_folder(job: JobDep, request: Request) -> Response:
    """List the two folders of a job: `sent` for input files, `processed` for results."""
    here = static_url(job.id)
    if _wants_json(request):
        sent, processed = f"{here}sent/", f"{here}processed/"
        return JSONResponse({"id": job.id, "state": job.state, "sent": sent, "processed": processed})
    lines = [
        _Line("sent/", f"{here}sent/", (f"{job.total} files",)),
        _Line("processed/", f"{here}processed/", (f"of {job.done} files",)),
    ]
    return _html_listing(here, lines, up=folders_url(), following=None)


@router.get("/{job}/sent/", summary="List input files", **_LISTING)
def list_input_files(
    job: JobDep, request: Request, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List the input files of a job."""
    (start,) = read_position(cursor, (0,))
    images = services.repository.list_images(job.id, after=start - 1, limit=limit)
    following = first_after(services.repository, job, images)
    files = [
        {"name": image.name, "size": image.size, "state": image.state, "url": sent_url(job.id, image.name)}
        for image in images
        if not image.is_group
    ]
    return _list_files(request, f"{static_url(job.id)}sent/", files, limit, following)


@router.get("/{job}/processed/", summary="List results as files", **_LISTING)
def list_result_files(
    job: JobDep, request: Request, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """List the results of a job so far."""
    image, index = read_position(cursor, (0, 0))
    files: list[dict[str, Any]] = []
    following = None
    for entry in entries(services.repository, job, image, index, limit + 1):
        if len(files) == limit:
            following = write_cursor(entry.image, entry.index)
            break
        result = entry.result
        files.append({"name": result.name, "size": result.size, "url": result_url(job.id, result.name)})
    return _list_files(request, f"{static_url(job.id)}processed/", files, limit, following)


@router.get("/{job}/sent/{name:file}", summary="Download an input file", **_FILE)
def get_input_file(job: JobDep, name: FileName, request: Request, services: ServicesDep) -> Response:
    """Send an input file as it was uploaded."""
    image = services.repository.image_by_name(job.id, name)
    if image is None or image.is_group:
        raise not_found(f"input file {name[:80]!a}")
    return file_response(request, sent_content(services, image), services.accel_prefix)


@router.get("/{job}/processed/{name:file}", summary="Download a result", **_FILE)
def get_result_file(job: JobDep, name: FileName, request: Request, services: ServicesDep) -> Response:
    """Send a result."""
    names = ResultNames(job.document.get("names", PARTS))
    stems = names.stems(name)
    if job.plan.layout.gather:
        stems += names.group_stems(name)
    images = filter(None, (services.repository.image_by_stem(job.id, stem) for stem in stems))
    result = next((result for image in images for result in image.results if result.name == name), None)
    if result is None:
        raise not_found(f"result {name[:80]!a}")
    return file_response(request, result_content(services.store, result), services.accel_prefix)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _list_files(request: Request, here: str, files: list[dict[str, Any]], limit: int, cursor: str | None) -> Response:
    following = cursor and page_url(here, limit=limit, cursor=cursor)
    if _wants_json(request):
        return JSONResponse({"files": files, "next": following})
    lines = [_Line(file["name"], file["url"], _notes(file)) for file in files]
    return _html_listing(here, lines, up=f"{here.rstrip('/').rpartition('/')[0]}/", following=following)


def _notes(file: dict[str, Any]) -> tuple[str, ...]:
    size = "" if file["size"] is None else f"{file['size']:,} bytes"
    return (size, file["state"]) if "state" in file else (size,)


def _html_listing(title: str, lines: Iterable[_Line], *, up: str, following: str | None) -> HTMLResponse:
    """Return a page of lines with links to the parent folder and to the next page."""
    rows = "".join(map(_row, [_Line("..", up), *lines]))
    views = "".join(f'<a href="{escape(at(path))}">{name}</a>' for path, name in _VIEWS)
    more = f'<p><a rel="next" href="{escape(following)}">more</a></p>' if following else ""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="{escape(at("/web/icon.svg"))}">'
        f"<style>{_STYLE}</style></head><body><header>{views}</header><main><h1>{escape(title)}</h1>"
        f"<table>{rows}</table>{more}</main></body></html>\n",
        headers={"Content-Security-Policy": _POLICY, "Cache-Control": "private, no-cache"},
    )


def _row(line: _Line) -> str:
    cells = "".join(f"<td>{escape(note)}</td>" for note in line.notes)
    return f'<tr><td><a href="{escape(line.url)}">{escape(line.name)}</a></td>{cells}</tr>'
