"""Every call of the REST API, as data: what is sent, and what the answer becomes."""

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

from penstock.client.exchange import Call, Sink
from penstock.client.local_files import Photo, Saving
from penstock.client.models import Image, Job, Notice, Operation, Result, Retried, System, Upload, UploadedFile

MAX_LIMIT = 1_000

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some entries of a list, and the path of the following ones."""

    items: Sequence[T]
    next: str | None


def submit(document: Mapping[str, Any], key: str | None) -> Call[Job]:
    """Create a job; without a key it gets one of its own, so that an attempt whose answer is lost makes no second."""
    return _post("/v1/jobs", document, _reader(Job), {"Idempotency-Key": key or uuid4().hex})


def check_free_inputs(document: Mapping[str, Any]) -> None:
    """Make sure that files given beside a document replace nothing.

    Raises:
        ValueError: it has `inputs`.
    """
    if document.get("inputs"):
        raise ValueError(f"the document has inputs, {str(document['inputs'])[:80]}; accepted are those or files")


def estimate(document: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """Ask what a job would do."""
    return _post("/v1/jobs?dry_run=true", document, lambda response: dict(response.json()))


def list_jobs(state: str | None, label: str | None, limit: int) -> Call[Page[Job]]:
    """Get the newest jobs."""
    params = {"state": state, "label": label, "limit": min(limit, MAX_LIMIT)}
    return Call("GET", "/v1/jobs", _page_reader("jobs", Job), params=params)


def get_job(job: str) -> Call[Job]:
    """Get a job as it is now."""
    return Call("GET", _job(job), _reader(Job))


def list_images(job: str, state: str | None) -> Call[Page[Image]]:
    """Get a job's first images."""
    params = {"state": state, "limit": MAX_LIMIT}
    return Call("GET", f"{_job(job)}/images", _page_reader("images", Image), params=params)


def list_results(job: str) -> Call[Page[Result]]:
    """Get the beginning of a job's manifest."""
    return Call("GET", f"{_job(job)}/results", _page_reader("results", Result), params={"limit": MAX_LIMIT})


def follow(page: Page[T], call: Call[Page[T]]) -> Call[Page[T]] | None:
    """Return the call for the page that comes after one; None after the last."""
    return None if page.next is None else Call("GET", page.next, call.read)


def cancel(job: str) -> Call[Job]:
    """Stop a job."""
    return Call("POST", f"{_job(job)}/cancel", _reader(Job))


def retry(job: str, images: Sequence[int] | None) -> Call[Retried]:
    """Try failed images again. Not repeatable: what failed once more meanwhile would be tried a third time."""
    document = {} if images is None else {"images": list(images)}
    return _post(f"{_job(job)}/retry", document, _reader(Retried), repeatable=False)


def delete(job: str) -> Call[None]:
    """Remove a job that has ended."""
    return Call("DELETE", _job(job), _nothing)


def list_deliveries(job: str) -> Call[list[Notice]]:
    """Get what was told of a job's ends."""
    return Call("GET", f"{_job(job)}/deliveries", _list_reader("events", Notice))


def list_operations() -> Call[list[Operation]]:
    """Get every operation."""
    return Call("GET", "/v1/operations", _list_reader("operations", Operation))


def look_at_system() -> Call[System]:
    """Get every step, and advice."""
    return Call("GET", "/v1/steps", _reader(System))


def is_ready() -> Call[bool]:
    """Ask whether the server can accept jobs."""
    return Call("GET", "/readyz", lambda response: bool(response.json()["ready"]))


def begin_upload() -> Call[Upload]:
    """Begin an upload. One too many does no harm: it is empty, and swept."""
    return Call("POST", "/v1/uploads", _reader(Upload))


def list_upload(upload: str) -> Call[Page[UploadedFile]]:
    """Get the first files of an upload that have arrived."""
    return Call("GET", _upload(upload), _page_reader("files", UploadedFile), params={"limit": MAX_LIMIT})


def send_file(upload: str, photo: Photo, sha256: bytes) -> Call[UploadedFile]:
    """Send one file."""
    return Call(
        "PUT",
        f"{_upload(upload)}/files/{quote(photo.name)}",
        _reader(UploadedFile),
        headers={"Repr-Digest": f"sha-256=:{base64.b64encode(sha256).decode()}:"},
        body=photo.pieces,
        size_bytes=photo.size_bytes,
    )


def download(result: Result, saving: Callable[[], Saving]) -> Call[None]:
    """Get a result's bytes."""
    sink: Callable[[], Sink[None]] = saving
    return Call("GET", result.url, sink=sink)


def events(job: str) -> Call[None]:
    """Follow a job; the answer is a stream that is read as it comes."""
    return Call("GET", f"{_job(job)}/events")


def _post(
    path: str,
    document: Mapping[str, Any],
    read: Callable[[httpx.Response], T],
    headers: Mapping[str, str] | None = None,
    *,
    repeatable: bool = True,
) -> Call[T]:
    data = json.dumps(document).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    return Call(
        "POST", path, read, headers=sent, body=lambda: iter([data]), size_bytes=len(data), repeatable=repeatable
    )


def _job(job: str) -> str:
    return f"/v1/jobs/{quote(job, safe='')}"


def _upload(upload: str) -> str:
    return f"/v1/uploads/{quote(upload, safe='')}"


def _reader(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: model.model_validate_json(response.content)


def _page_reader(field: str, model: type[M]) -> Callable[[httpx.Response], Page[M]]:
    def read(response: httpx.Response) -> Page[M]:
        page = response.json()
        return Page([model.model_validate(item) for item in page[field]], page["next"])

    return read


def _list_reader(field: str, model: type[M]) -> Callable[[httpx.Response], list[M]]:
    return lambda response: [model.model_validate(item) for item in response.json()[field]]


def _nothing(_: httpx.Response) -> None:
    return None
