"""`AsyncClient`: the REST API for asyncio and trio.

`sync_client.py` is generated from this file by scripts/make_sync_client.py.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel, PrivateAttr

from penstock.client.config import ConfiguredClient
from penstock.client.errors import DamagedError, RefusedError, UnavailableError
from penstock.client.event_stream import Event, EventReader
from penstock.client.local_files import AtomicFile, Paths, Photo, find_photos, is_saved, target_path
from penstock.client.one_image import OneImage, Ops, ResultFile, write_document
from penstock.client.request import Request, ignore, parse_list, parse_model, parse_page, path_to, post_json, put_file
from penstock.client.tasks import iterate_blocking, map_concurrently, run_blocking, sleep
from penstock.common.backoff import Backoff
from penstock.common.model import rest

PAGE_LIMIT = 1_000
Form = Literal["geojson", "csv", "ndjson"]
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class AsyncClient(ConfiguredClient[httpx.AsyncClient]):
    """A Penstock server. Use it with `async with`, or close it with `aclose`. Methods may be called concurrently.

    Every method raises RefusedError if the server refuses the request, UnavailableError if it is unreachable or
    overloaded for longer than `patience_secs`, and UnexpectedAnswerError if the response is not one of Penstock's.

    Args:
        server: its URL; by default PENSTOCK_SERVER, or http://127.0.0.1:8080.
        api_key: by default PENSTOCK_API_KEY.
        verify: a file of certificates to trust, by default PENSTOCK_TLS_CA; or False to trust any.
        timeout_secs: limit for connecting, and for each read and write.
        patience_secs: how long a request is retried.
    """

    _http_class = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def process(self, image: bytes | str | os.PathLike[str], ops: Ops = (), **options: Any) -> bytes:
        """Return the only result of an image, which is given as bytes or as a path.

        Args:
            image: the image's file.
            ops: the operations, as on the command line (`"resize=512x512"`) or as in a job document.
            options: fields of a job document, such as `output="png"` and `quality=80`; see `/v1/process`.

        Raises:
            RefusedError: also if the image fails; `code` says why.
            LocalFileError: the file cannot be read.
            ValueError: there is not exactly one result; `process_all` returns all.
        """
        results = await self.process_all(image, ops, **options)
        if len(results) != 1:
            raise ValueError(f"the operations made {len(results)} results; process_all returns them")
        return results[0].data

    async def process_all(
        self, image: bytes | str | os.PathLike[str], ops: Ops = (), **options: Any
    ) -> list[ResultFile]:
        """Return all results of an image with what the manifest says about them; see `process`."""
        one = await run_blocking(OneImage.read, image)
        return await self.send(one.request(ops, options))

    async def submit(
        self, document: Mapping[str, Any], files: Paths = (), *, idempotency_key: str | None = None
    ) -> AsyncJob:
        """Create a job from a document with `inputs`, or from files and folders of this host, which are uploaded.

        Raises:
            LocalFileError: a file does not exist or cannot be read.
            ValueError: both a document with `inputs` and files.
        """
        photos = await run_blocking(find_photos, files)
        if photos:
            if inputs := document.get("inputs"):
                raise ValueError(f"the document has inputs, {str(inputs)[:80]}; accepted are inputs or files")
            await self.check(document, len(photos))
            upload = await self.begin_upload()
            await self.send_files(upload.id, photos)
            document = {**document, "inputs": [{"upload": upload.id}]}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}  # a retry must not create a second job
        request = post_json("/v1/jobs", write_document(document), parse_model(AsyncJob), headers=headers)
        return (await self.send(request))._of(self)

    async def run(
        self, files: Paths, ops: Ops, folder: str | os.PathLike[str] | None = None, **fields: Any
    ) -> AsyncJob:
        """Run operations on files and folders of this host, wait for the job, and save its results below a folder.

        Args:
            files: paths of files and folders.
            ops: the operations, as for `process`.
            folder: where the results are saved; None: they stay on the server.
            fields: further fields of the job document, such as `output="png"` and `labels={"city": "delft"}`.
        """
        job = await self.submit({**fields, "operations": list(ops)}, files)
        job = await job.wait()
        if folder is not None:
            await job.download(folder)
        return job

    async def estimate(self, document: Mapping[str, Any], images: int | None = None) -> dict[str, Any]:
        """Return what a job would do, without creating it.

        `images` is the number of images to send, for a document without inputs: the server checks that it would accept
        them, without having them.
        """
        path = "/v1/jobs?dry_run=true" + (f"&images={images}" if images else "")
        return await self.send(post_json(path, write_document(document), lambda response: dict(response.json())))

    async def check(self, document: Mapping[str, Any], images: int) -> None:
        """Let the server refuse a job before its images are sent, and not after it."""
        try:
            await self.estimate(document, images)
        except RefusedError as error:
            if error.code != "no_images":  # a server of version 0.1.0 wants to see images
                raise

    def jobs(
        self, *, state: str | None = None, label: str | None = None, limit: int | None = None
    ) -> AsyncIterator[AsyncJob]:
        """Yield jobs, newest first; `label` is `key=value`."""
        return self._jobs({"state": state, "label": label}, limit)

    async def job(self, job: str) -> AsyncJob:
        """Return a job."""
        return (await self.send(Request("GET", path_to("jobs", job), parse_model(AsyncJob))))._of(self)

    def images(self, job: str, *, state: str | None = None) -> AsyncIterator[rest.Image]:
        """Yield a job's images in order."""
        return self._pages(f"{path_to('jobs', job)}/images", "images", rest.Image, {"state": state})

    def results(self, job: str) -> AsyncIterator[rest.Result]:
        """Yield a job's results so far."""
        return self._pages(f"{path_to('jobs', job)}/results", "results", rest.Result)

    async def manifest(self, job: str, form: Form = "geojson") -> bytes:
        """Return the manifest of a job's results so far as a file: GeoJSON, CSV, or lines of JSON."""
        path, params = f"{path_to('jobs', job)}/manifest", {"format": form}
        return await self.send(Request("GET", path, lambda response: response.content, params=params))

    async def wait(
        self, job: str, *, timeout_secs: float | None = None, on_progress: Callable[[AsyncJob], object] = ignore
    ) -> AsyncJob:
        """Return a job as soon as it has ended, or as it is after `timeout_secs`."""
        deadline = math.inf if timeout_secs is None else time.monotonic() + timeout_secs
        backoff = Backoff(first_secs=0.05, max_secs=2.0, factor=1.3, jitter=0)  # most jobs are short
        while True:
            found = await self.job(job)
            on_progress(found)
            left_secs = deadline - time.monotonic()
            if found.has_ended or left_secs <= 0:
                return found
            await sleep(min(backoff.next_secs(), left_secs))

    async def events(self, job: str, *, last_id: str | None = None) -> AsyncIterator[Event]:
        """Yield a job's events until its end, reconnecting if necessary; each `image-failed` comes once."""
        reader, request = EventReader(last_id), Request("GET", f"{path_to('jobs', job)}/events", ignore)
        retries = self._retries(request)
        while True:
            try:
                async with self._http.stream(**request.httpx_arguments(self._base, reader.restart())) as response:
                    if response.is_success:
                        async for line in response.aiter_lines():
                            if (event := reader.feed(line)) is not None:
                                yield event
                                if event.kind == "end":
                                    return
                                retries = self._retries(request)
                        raise httpx.RemoteProtocolError("the event stream ended before the job did")
                    await response.aread()
                    delay_secs = retries.delay_after_response(response)
            except httpx.RequestError as error:
                delay_secs = retries.delay_after_error(error)
            await sleep(delay_secs)

    async def cancel(self, job: str) -> AsyncJob:
        """Cancel a job; results made so far stay."""
        request = Request("POST", f"{path_to('jobs', job)}/cancel", parse_model(AsyncJob))
        return (await self.send(request))._of(self)

    async def retry(
        self, job: str, images: Sequence[int] | None = None, *, everything: bool = False, code: str | None = None
    ) -> rest.Retried:
        """Retry a job's failed images: these, else those that a retry may help, or with `everything` all of them.

        With `code`, only those with this error code.
        """
        document: dict[str, Any] = {"all": True} if everything else {}
        if code is not None:
            document["code"] = code
        if images is not None:
            document["images"] = list(images)
        # not idempotent: an image that failed again in between would be retried again
        request = post_json(f"{path_to('jobs', job)}/retry", document, parse_model(rest.Retried), idempotent=False)
        return await self.send(request)

    async def delete(self, job: str) -> None:
        """Delete a job that has ended, with its files and results."""
        await self.send(Request("DELETE", path_to("jobs", job), ignore))

    async def deliveries(self, job: str) -> list[rest.Notice]:
        """Return the events of a job's webhook with their deliveries, newest first; none without a webhook."""
        return await self.send(Request("GET", f"{path_to('jobs', job)}/deliveries", parse_list("events", rest.Notice)))

    async def presets(self) -> list[rest.Preset]:
        """Return the job documents that are kept under a name, for this key."""
        return await self.send(Request("GET", "/v1/presets", parse_list("presets", rest.Preset)))

    async def save_preset(self, name: str, document: Mapping[str, Any]) -> rest.Preset:
        """Keep a job document without `inputs` under a name, or replace the one that has it."""
        request = post_json(path_to("presets", name), write_document(document), parse_model(rest.Preset))
        return await self.send(replace(request, method="PUT"))

    async def delete_preset(self, name: str) -> None:
        """Delete a preset."""
        await self.send(Request("DELETE", path_to("presets", name), ignore))

    async def usage(self) -> rest.Usage:
        """Return how many bytes of uploads and results are stored, by owner, and how many are allowed."""
        return await self.send(Request("GET", "/v1/usage", parse_model(rest.Usage)))

    async def operations(self) -> list[rest.Operation]:
        """Return all operations that jobs can name."""
        return await self.send(Request("GET", "/v1/operations", parse_list("operations", rest.Operation)))

    async def formats(self) -> list[rest.Format]:
        """Return the types of image files that the server reads."""
        return await self.send(Request("GET", "/v1/formats", parse_list("formats", rest.Format)))

    async def steps(self) -> list[rest.Step]:
        """Return all steps, and how busy they are."""
        return (await self.system()).steps

    async def system(self) -> rest.System:
        """Return all steps, and advice on which one to scale."""
        return await self.send(Request("GET", "/v1/steps", parse_model(rest.System)))

    async def is_ready(self) -> bool:
        """Return whether the server accepts jobs."""
        request = Request("GET", "/readyz", lambda response: bool(response.json()["ready"]))
        try:
            return await self.send(request, patience_secs=0)
        except UnavailableError:
            return False

    async def begin_upload(self) -> rest.Upload:
        """Create an upload."""
        return await self.send(Request("POST", "/v1/uploads", parse_model(rest.Upload)))

    def uploaded(self, upload: str) -> AsyncIterator[rest.UploadedFile]:
        """Yield the files of an upload."""
        return self._pages(path_to("uploads", upload), "files", rest.UploadedFile)

    async def send_file(self, upload: str, photo: Photo) -> rest.UploadedFile:
        """Upload one file; it is stored durably when this returns."""
        return await self.send(put_file(upload, photo, await run_blocking(photo.digest)))

    async def send_files(
        self, upload: str, photos: Iterable[Photo], on_sent: Callable[[rest.UploadedFile], object] = ignore
    ) -> None:
        """Upload files, several at a time. `on_sent` is called after each; `Client` calls it from several threads."""

        async def send(photo: Photo) -> None:
            on_sent(await self.send_file(upload, photo))

        await map_concurrently(send, photos)

    async def download(self, result: rest.Result, folder: str | os.PathLike[str], *, replace: bool = False) -> bool:
        """Save a result below a folder; return False if a file with its checksum was there already.

        Raises:
            LocalFileError: the result's name leads out of the folder, the file cannot be written, or without `replace`
                there is one with other content.
            DamagedError: the download does not match the result's checksum.
        """
        target = target_path(Path(folder), result.name)
        if await run_blocking(is_saved, target, result.size, result.sha256):
            return False
        sink = partial(AtomicFile, target, result.sha256, replace=replace)
        await self.send(Request("GET", result.url, ignore, sink=sink))
        return True

    async def download_all(
        self,
        job: str,
        folder: str | os.PathLike[str],
        *,
        replace: bool = False,
        on_saved: Callable[[rest.Result, bool], object] = lambda _result, _is_new: None,
    ) -> int:
        """Save a job's results so far below a folder, a few at a time; return how many were not there already.

        `on_saved` is called with each result, and whether it was not there; `Client` calls it from several threads.

        Raises:
            LocalFileError, DamagedError: as `download`.
        """
        saved: list[bool] = []

        async def save(result: rest.Result) -> None:
            is_new = await self.download(result, folder, replace=replace)
            saved.append(is_new)
            on_saved(result, is_new)

        page: list[rest.Result] = []
        async for result in self.results(job):
            page.append(result)
            if len(page) == PAGE_LIMIT:
                await map_concurrently(save, page)
                page = []
        await map_concurrently(save, page)
        return sum(saved)

    async def send(self, request: Request[T], *, patience_secs: float | None = None) -> T:
        """Send a request, with retries, and return its result."""
        retries = self._retries(request, patience_secs)
        while True:
            try:
                content = iterate_blocking(request.content()) if request.content else None
                async with self._http.stream(**request.httpx_arguments(self._base), content=content) as response:
                    if retries.is_success(response):
                        await self._receive(response, request.sink)
                        return request.result(response)
                    await response.aread()
                    delay_secs = retries.delay_after_response(response)
            except (httpx.RequestError, DamagedError) as error:
                delay_secs = retries.delay_after_error(error)
            await sleep(delay_secs)

    async def _receive(self, response: httpx.Response, sink: Callable[[], AtomicFile] | None) -> None:
        if sink is None:
            await response.aread()
            return
        file = await run_blocking(sink)
        try:
            async for data in response.aiter_bytes():
                await run_blocking(file.write, data)
            await run_blocking(file.commit)
        finally:
            file.abort()

    async def _jobs(self, params: Mapping[str, Any], limit: int | None) -> AsyncIterator[AsyncJob]:
        async for job in self._pages("/v1/jobs", "jobs", AsyncJob, params, limit):
            yield job._of(self)

    async def _pages(
        self, path: str, field: str, model: type[M], params: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> AsyncIterator[M]:
        left = sys.maxsize if limit is None else limit
        request = Request(
            "GET", path, parse_page(field, model), params={**(params or {}), "limit": min(left, PAGE_LIMIT)}
        )
        while left > 0:
            items, following = await self.send(request)
            for item in items[:left]:
                yield item
            if following is None:
                return
            left -= len(items)
            request = Request("GET", following, request.parse)


class AsyncJob(rest.Job):
    """A job as it was when the server was asked, with what can be done with it."""

    _client: AsyncClient = PrivateAttr()

    def _of(self, client: AsyncClient) -> Self:
        self._client = client
        return self

    async def refresh(self) -> AsyncJob:
        """Return the job as it is now."""
        return await self._client.job(self.id)

    async def wait(
        self, *, timeout_secs: float | None = None, on_progress: Callable[[AsyncJob], object] = ignore
    ) -> AsyncJob:
        """Return the job as soon as it has ended, or as it is after `timeout_secs`."""
        return await self._client.wait(self.id, timeout_secs=timeout_secs, on_progress=on_progress)

    async def download(self, folder: str | os.PathLike[str]) -> int:
        """Save its results so far below a folder; return how many were not there already."""
        return await self._client.download_all(self.id, folder)

    async def manifest(self, form: Form = "geojson") -> bytes:
        """Return the manifest of its results so far as a file: GeoJSON, CSV, or lines of JSON."""
        return await self._client.manifest(self.id, form)

    async def cancel(self) -> AsyncJob:
        """Cancel it; results made so far stay."""
        return await self._client.cancel(self.id)
