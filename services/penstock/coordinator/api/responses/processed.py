"""Processed: the results of one image as a response: its only result, a ZIP file, or a multipart message."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from urllib.parse import quote
from uuid import uuid4

from fastapi.responses import Response

from penstock.common.model.errors import ImageCode, RequestError
from penstock.common.model.jobs import ImageState
from penstock.common.model.messages import Result
from penstock.common.store.base import Store
from penstock.coordinator.api.problems import problem
from penstock.coordinator.api.responses.file_responses import content_disposition
from penstock.coordinator.api.responses.stream import Stream
from penstock.coordinator.api.responses.zip_stream import Member, zip_stream
from penstock.coordinator.ports.repository import Image, Job

MULTIPART = "multipart/mixed"
ZIP = "application/zip"

_WHOLE_BYTES = 1024 * 1024
"""Up to this size results are read and sent at once."""

_STATUSES: dict[str, int] = {
    ImageCode.TOO_LARGE_FILE: 413,
    ImageCode.UNSUPPORTED_TYPE: 415,
    ImageCode.STEP_TIMEOUT: 504,
    ImageCode.IMAGE_TIMEOUT: 504,
    ImageCode.ATTEMPTS_EXHAUSTED: 503,
    ImageCode.STEP_CRASHED: 500,
    ImageCode.INTERNAL: 500,
}
"""The status of a failed image; 422 for all other codes."""


def processed_response(store: Store, job: Job, image: Image, accept: str, headers: dict[str, str]) -> Response:
    """Return the response for an image that has ended; `headers` are added to it.

    A single result is the body, unless `accept` asks for an archive; several are a ZIP file or, if `accept` names it, a
    multipart message.
    """
    if image.error is not None:
        return _failure(image.error, headers)
    if image.state is not ImageState.DONE:
        raise RequestError(409, "cancelled", f"the job {job.id} was cancelled while this request waited for it")
    headers = {**headers, "Cache-Control": "private, no-store", "Server-Timing": server_timing(job, image)}
    if MULTIPART in accept:
        return _multipart(store, image.results, headers)
    if len(image.results) == 1 and ZIP not in accept:
        return _single(store, image.results[0], headers)
    headers["Content-Disposition"] = content_disposition(f"{image.stem}.zip", inline=False)
    members = (Member(result.name, result.size, partial(store.stream, result.key)) for result in image.results)
    return _response(zip_stream(members), image.results, headers, ZIP)


def server_timing(job: Job, image: Image) -> str:
    """Return the milliseconds that the image waited and that each step worked on it (`Server-Timing`)."""
    steps = job.plan.steps
    timings = [timing for timing in image.timings if timing.step < len(steps)]
    waited = f"wait;dur={sum(timing.wait for timing in timings) * 1000:.1f}"
    return ", ".join([waited, *(f"{steps[timing.step]};dur={timing.work * 1000:.1f}" for timing in timings)])


def facts(result: Result) -> dict[str, str]:
    """Return what the manifest says about a result, as headers."""
    digest = base64.b64encode(bytes.fromhex(result.sha256)).decode()
    headers = {
        "Content-Disposition": content_disposition(result.name, inline=True),
        "ETag": f'"{result.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Penstock-Name": quote(result.name),
        "Penstock-Width": str(result.width),
        "Penstock-Height": str(result.height),
    }
    return {**headers, "Penstock-Warnings": ", ".join(result.warnings)} if result.warnings else headers


def failure_status(code: str) -> int:
    """Return the HTTP status for the code of a failed image."""
    return _STATUSES.get(code, 422)


def _failure(error: dict[str, str], headers: dict[str, str]) -> Response:
    status = failure_status(error["code"])
    more = {"Retry-After": "5"} if status == 503 else {}
    return problem(status, error["code"], f"{error['step']}: {error['message']}", headers={**headers, **more})


def _single(store: Store, result: Result, headers: dict[str, str]) -> Response:
    headers = {**headers, **facts(result), "Content-Length": str(result.size)}
    return _response(store.stream(result.key), [result], headers, result.media_type)


def _multipart(store: Store, results: Sequence[Result], headers: dict[str, str]) -> Response:
    boundary = uuid4().hex
    parts = chain.from_iterable(_part(store, result, boundary) for result in results)
    body = chain(parts, [f"--{boundary}--\r\n".encode()])
    return _response(body, results, headers, f"{MULTIPART}; boundary={boundary}")


def _response(body: Iterable[bytes], results: Sequence[Result], headers: dict[str, str], media_type: str) -> Response:
    """Return a response of results: at once where they are small, because each block of a stream changes threads."""
    if sum(result.size for result in results) <= _WHOLE_BYTES:
        return Response(b"".join(body), headers=headers, media_type=media_type)
    return Stream(body, headers=headers, media_type=media_type)


def _part(store: Store, result: Result, boundary: str) -> Iterator[bytes]:
    fields = {"Content-Type": result.media_type, "Content-Length": str(result.size), **facts(result)}
    lines = [f"--{boundary}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    yield "\r\n".join(lines).encode()
    yield from store.stream(result.key)
    yield b"\r\n"
