"""Endpoints: a function for each call of the REST API, which returns its `Request`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel

from penstock.client.local_files import AtomicFile, Photo
from penstock.client.request import Request
from penstock.common.model.rest import (
    Image,
    Job,
    Notice,
    Operation,
    Result,
    Retried,
    System,
    Upload,
    UploadedFile,
)

MAX_LIMIT = 1_000
"""Entries per page."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and the path of the next one."""

    items: Sequence[T]
    next: str | None


def submit(document: Mapping[str, Any], key: str | None) -> Request[Job]:
    """Create a job. The idempotency key, random if None, keeps retries from creating a second one."""
    return _post("/v1/jobs", document, _model(Job), {"Idempotency-Key": key or uuid4().hex})


def estimate(document: Mapping[str, Any]) -> Request[dict[str, Any]]:
    """Estimate a job."""
    return _post("/v1/jobs?dry_run=true", document, lambda response: dict(response.json()))


def list_jobs(state: str | None, label: str | None, limit: int) -> Request[Page[Job]]:
    """List the newest jobs."""
    params = {"state": state, "label": label, "limit": min(limit, MAX_LIMIT)}
    return Request("GET", "/v1/jobs", _page("jobs", Job), params=params)


def get_job(job: str) -> Request[Job]:
    """Get a job."""
    return Request("GET", _job_path(job), _model(Job))


def list_images(job: str, state: str | None) -> Request[Page[Image]]:
    """List a job's images."""
    params = {"state": state, "limit": MAX_LIMIT}
    return Request("GET", f"{_job_path(job)}/images", _page("images", Image), params=params)


def list_results(job: str) -> Request[Page[Result]]:
    """List a job's results."""
    return Request("GET", f"{_job_path(job)}/results", _page("results", Result), params={"limit": MAX_LIMIT})


def next_page(page: Page[T], request: Request[Page[T]]) -> Request[Page[T]] | None:
    """Return the request for the page after one; None after the last."""
    return None if page.next is None else Request("GET", page.next, request.parse)


def cancel(job: str) -> Request[Job]:
    """Cancel a job."""
    return Request("POST", f"{_job_path(job)}/cancel", _model(Job))


def retry(job: str, images: Sequence[int] | None) -> Request[Retried]:
    """Retry failed images. Not idempotent: an image that failed again in between would be retried again."""
    document = {} if images is None else {"images": list(images)}
    return _post(f"{_job_path(job)}/retry", document, _model(Retried), idempotent=False)


def delete(job: str) -> Request[None]:
    """Delete a job that has ended."""
    return Request("DELETE", _job_path(job), _nothing)


def list_deliveries(job: str) -> Request[list[Notice]]:
    """List the events of a job's webhook with their deliveries."""
    return Request("GET", f"{_job_path(job)}/deliveries", _list("events", Notice))


def list_operations() -> Request[list[Operation]]:
    """List all operations."""
    return Request("GET", "/v1/operations", _list("operations", Operation))


def get_system() -> Request[System]:
    """Get all steps, and advice."""
    return Request("GET", "/v1/steps", _model(System))


def is_ready() -> Request[bool]:
    """Get whether the server accepts jobs."""
    return Request("GET", "/readyz", lambda response: bool(response.json()["ready"]))


def begin_upload() -> Request[Upload]:
    """Create an upload. Idempotent enough: the server deletes empty ones after a while."""
    return Request("POST", "/v1/uploads", _model(Upload))


def list_upload(upload: str) -> Request[Page[UploadedFile]]:
    """List the files of an upload."""
    return Request("GET", _upload_path(upload), _page("files", UploadedFile), params={"limit": MAX_LIMIT})


def send_file(upload: str, photo: Photo, sha256: bytes) -> Request[UploadedFile]:
    """Upload a file."""
    return Request(
        "PUT",
        f"{_upload_path(upload)}/files/{quote(photo.name)}",
        _model(UploadedFile),
        headers={"Repr-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:"},
        content=photo.iter_bytes,
        size_bytes=photo.size_bytes,
    )


def download(result: Result, sink: Callable[[], AtomicFile]) -> Request[None]:
    """Download a result."""
    return Request("GET", result.url, _nothing, sink=sink)


def events(job: str) -> Request[None]:
    """Stream a job's events."""
    return Request("GET", f"{_job_path(job)}/events", _nothing)


def _post(
    path: str,
    document: Mapping[str, Any],
    parse: Callable[[httpx.Response], T],
    headers: Mapping[str, str] | None = None,
    *,
    idempotent: bool = True,
) -> Request[T]:
    body = json.dumps(document).encode()
    return Request(
        "POST",
        path,
        parse,
        headers={"Content-Type": "application/json", **(headers or {})},
        content=lambda: iter([body]),
        size_bytes=len(body),
        idempotent=idempotent,
    )


def _job_path(job: str) -> str:
    return f"/v1/jobs/{quote(job, safe='')}"


def _upload_path(upload: str) -> str:
    return f"/v1/uploads/{quote(upload, safe='')}"


def _model(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: model.model_validate_json(response.content)


def _page(field: str, model: type[M]) -> Callable[[httpx.Response], Page[M]]:
    def parse(response: httpx.Response) -> Page[M]:
        page = response.json()
        return Page([model.model_validate(item) for item in page[field]], page["next"])

    return parse


def _list(field: str, model: type[M]) -> Callable[[httpx.Response], list[M]]:
    return lambda response: [model.model_validate(item) for item in response.json()[field]]


def _nothing(_: httpx.Response) -> None:
    return None
