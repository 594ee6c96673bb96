"""`Client`: the REST API, blocking. Generated from async_client.py by scripts/make_sync_client.py."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from penstock.client.threads import iterate_blocking, map_concurrently, run_blocking, sleep
from penstock.common.backoff import Backoff
from penstock.common.model import rest

PAGE_LIMIT = 1_000
Form = Literal["geojson", "csv", "ndjson"]
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Client(ConfiguredClient[httpx.Client]):
    """A Penstock server. Use it with `with`, or close it with `close`. Methods may be called concurrently.

    Every method raises RefusedError if the server refuses the request, UnavailableError if it is unreachable or
    overloaded for longer than `patience_secs`, and UnexpectedAnswerError if the response is not one of Penstock's.

    Args:
        server: its URL; by default PENSTOCK_SERVER, or http://127.0.0.1:8080.
        api_key: by default PENSTOCK_API_KEY.
        verify: a file of certificates to trust, by default PENSTOCK_TLS_CA; or False to trust any.
        timeout_secs: limit for connecting, and for each read and write.
        patience_secs: how long a request is retried.
    """

    _http_class = httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def process(self, image: bytes | str | os.PathLike[str], ops: Ops = (), **options: Any) -> bytes:
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
        results = self.process_all(image, ops, **options)
        if len(results) != 1:
            raise ValueError(f"the operations made {len(results)} results; process_all returns them")
        return results[0].data

    def process_all(self, image: bytes | str | os.PathLike[str], ops: Ops = (), **options: Any) -> list[ResultFile]:
        """Return all results of an image with what the manifest says about them; see `process`."""
        one = run_blocking(OneImage.read, image)
        return self.send(one.request(ops, options))

    def submit(self, document: Mapping[str, Any], files: Paths = (), *, idempotency_key: str | None = None) -> Job:
        """Create a job from a document with `inputs`, or from files and folders of this host, which are uploaded.

        Raises:
            LocalFileError: a file does not exist or cannot be read.
            ValueError: both a document with `inputs` and files.
        """
        photos = run_blocking(find_photos, files)
        if photos:
            if inputs := document.get("inputs"):
                raise ValueError(f"the document has inputs, {str(inputs)[:80]}; accepted are inputs or files")
            self.check(document, len(photos))
            upload = self.begin_upload()
            self.send_files(upload.id, photos)
            document = {**document, "inputs": [{"upload": upload.id}]}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}  # a retry must not create a second job
        request = post_json("/v1/jobs", write_document(document), parse_model(Job), headers=headers)
        return (self.send(request))._of(self)

    def run(self, files: Paths, ops: Ops, folder: str | os.PathLike[str] | None = None, **fields: Any) -> Job:
        """Run operations on files and folders of this host, wait for the job, and save its results below a folder.

        Args:
            files: paths of files and folders.
            ops: the operations, as for `process`.
            folder: where the results are saved; None: they stay on the server.
            fields: further fields of the job document, such as `output="png"` and `labels={"city": "delft"}`.
        """
        job = self.submit({**fields, "operations": list(ops)}, files)
        job = job.wait()
        if folder is not None:
            job.download(folder)
        return job

    def estimate(self, document: Mapping[str, Any], images: int | None = None) -> dict[str, Any]:
        """Return what a job would do, without creating it.

        `images` is the number of images to send, for a document without inputs: the server checks that it would accept
        them, without having them.
        """
        path = "/v1/jobs?dry_run=true" + (f"&images={images}" if images else "")
        return self.send(post_json(path, write_document(document), lambda response: dict(response.json())))

    def check(self, document: Mapping[str, Any], images: int) -> None:
        """Let the server refuse a job before its images are sent, and not after it."""
        try:
            self.estimate(document, images)
        except RefusedError as error:
            if error.code != "no_images":  # a server of version 0.1.0 wants to see images
                raise

    def jobs(self, *, state: str | None = None, label: str | None = None, limit: int | None = None) -> Iterator[Job]:
        """Yield jobs, newest first; `label` is `key=value`."""
        return self._jobs({"state": state, "label": label}, limit)

    def job(self, job: str) -> Job:
        """Return a job."""
        return (self.send(Request("GET", path_to("jobs", job), parse_model(Job))))._of(self)

    def images(self, job: str, *, state: str | None = None) -> Iterator[rest.Image]:
        """Yield a job's images in order."""
        return self._pages(f"{path_to('jobs', job)}/images", "images", rest.Image, {"state": state})

    def results(self, job: str) -> Iterator[rest.Result]:
        """Yield a job's results so far."""
        return self._pages(f"{path_to('jobs', job)}/results", "results", rest.Result)

    def manifest(self, job: str, form: Form = "geojson") -> bytes:
        """Return the manifest of a job's results so far as a file: GeoJSON, CSV, or lines of JSON."""
        path, params = f"{path_to('jobs', job)}/manifest", {"format": form}
        return self.send(Request("GET", path, lambda response: response.content, params=params))

    def wait(
        self, job: str, *, timeout_secs: float | None = None, on_progress: Callable[[Job], object] = ignore
    ) -> Job:
        """Return a job as soon as it has ended, or as it is after `timeout_secs`."""
        deadline = math.inf if timeout_secs is None else time.monotonic() + timeout_secs
        backoff = Backoff(first_secs=0.05, max_secs=2.0, factor=1.3, jitter=0)  # most jobs are short
        while True:
            found = self.job(job)
            on_progress(found)
            left_secs = deadline - time.monotonic()
            if found.has_ended or left_secs <= 0:
                return found
            sleep(min(backoff.next_secs(), left_secs))

    def events(self, job: str, *, last_id: str | None = None) -> Iterator[Event]:
        """Yield a job's events until its end, reconnecting if necessary; each `image-failed` comes once."""
        reader, request = EventReader(last_id), Request("GET", f"{path_to('jobs', job)}/events", ignore)
        retries = self._retries(request)
        while True:
            try:
                with self._http.stream(**request.httpx_arguments(self._base, reader.restart())) as response:
                    if response.is_success:
                        for line in response.iter_lines():
                            if (event := reader.feed(line)) is not None:
                                yield event
                                if event.kind == "end":
                                    return
                                retries = self._retries(request)
                        raise httpx.RemoteProtocolError("the event stream ended before the job did")
                    response.read()
                    delay_secs = retries.delay_after_response(response)
            except httpx.RequestError as error:
                delay_secs = retries.delay_after_error(error)
            sleep(delay_secs)

    def cancel(self, job: str) -> Job:
        """Cancel a job; results made so far stay."""
        request = Request("POST", f"{path_to('jobs', job)}/cancel", parse_model(Job))
        return (self.send(request))._of(self)

    def retry(
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
        return self.send(request)

    def delete(self, job: str) -> None:
        """Delete a job that has ended, with its files and results."""
        self.send(Request("DELETE", path_to("jobs", job), ignore))

    def deliveries(self, job: str) -> list[rest.Notice]:
        """Return the events of a job's webhook with their deliveries, newest first; none without a webhook."""
        return self.send(Request("GET", f"{path_to('jobs', job)}/deliveries", parse_list("events", rest.Notice)))

    def presets(self) -> list[rest.Preset]:
        """Return the job documents that are kept under a name, for this key."""
        return self.send(Request("GET", "/v1/presets", parse_list("presets", rest.Preset)))

    def save_preset(self, name: str, document: Mapping[str, Any]) -> rest.Preset:
        """Keep a job document without `inputs` under a name, or replace the one that has it."""
        request = post_json(path_to("presets", name), write_document(document), parse_model(rest.Preset))
        return self.send(replace(request, method="PUT"))

    def delete_preset(self, name: str) -> None:
        """Delete a preset."""
        self.send(Request("DELETE", path_to("presets", name), ignore))

    def usage(self) -> rest.Usage:
        """Return how many bytes of uploads and results are stored, by owner, and how many are allowed."""
        return self.send(Request("GET", "/v1/usage", parse_model(rest.Usage)))

    def operations(self) -> list[rest.Operation]:
        """Return all operations that jobs can name."""
        return self.send(Request("GET", "/v1/operations", parse_list("operations", rest.Operation)))

    def formats(self) -> list[rest.Format]:
        """Return the types of image files that the server reads."""
        return self.send(Request("GET", "/v1/formats", parse_list("formats", rest.Format)))

    def steps(self) -> list[rest.Step]:
        """Return all steps, and how busy they are."""
        return (self.system()).steps

    def system(self) -> rest.System:
        """Return all steps, and advice on which one to scale."""
        return self.send(Request("GET", "/v1/steps", parse_model(rest.System)))

    def is_ready(self) -> bool:
        """Return whether the server accepts jobs."""
        request = Request("GET", "/readyz", lambda response: bool(response.json()["ready"]))
        try:
            return self.send(request, patience_secs=0)
        except UnavailableError:
            return False

    def begin_upload(self) -> rest.Upload:
        """Create an upload."""
        return self.send(Request("POST", "/v1/uploads", parse_model(rest.Upload)))

    def uploaded(self, upload: str) -> Iterator[rest.UploadedFile]:
        """Yield the files of an upload."""
        return self._pages(path_to("uploads", upload), "files", rest.UploadedFile)

    def send_file(self, upload: str, photo: Photo) -> rest.UploadedFile:
        """Upload one file; it is stored durably when this returns."""
        return self.send(put_file(upload, photo, run_blocking(photo.digest)))

    def send_files(
        self, upload: str, photos: Iterable[Photo], on_sent: Callable[[rest.UploadedFile], object] = ignore
    ) -> None:
        """Upload files, several at a time. `on_sent` is called after each; `Client` calls it from several threads."""

        def send(photo: Photo) -> None:
            on_sent(self.send_file(upload, photo))

        map_concurrently(send, photos)

    def download(self, result: rest.Result, folder: str | os.PathLike[str], *, replace: bool = False) -> bool:
        """Save a result below a folder; return False if a file with its checksum was there already.

        Raises:
            LocalFileError: the result's name leads out of the folder, the file cannot be written, or without `replace`
                there is one with other content.
            DamagedError: the download does not match the result's checksum.
        """
        target = target_path(Path(folder), result.name)
        if run_blocking(is_saved, target, result.size, result.sha256):
            return False
        sink = partial(AtomicFile, target, result.sha256, replace=replace)
        self.send(Request("GET", result.url, ignore, sink=sink))
        return True

    def download_all(
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

        def save(result: rest.Result) -> None:
            is_new = self.download(result, folder, replace=replace)
            saved.append(is_new)
            on_saved(result, is_new)

        page: list[rest.Result] = []
        for result in self.results(job):
            page.append(result)
            if len(page) == PAGE_LIMIT:
                map_concurrently(save, page)
                page = []
        map_concurrently(save, page)
        return sum(saved)

    def send(self, request: Request[T], *, patience_secs: float | None = None) -> T:
        """Send a request, with retries, and return its result."""
        retries = self._retries(request, patience_secs)
        while True:
            try:
                content = iterate_blocking(request.content()) if request.content else None
                with self._http.stream(**request.httpx_arguments(self._base), content=content) as response:
                    if retries.is_success(response):
                        self._receive(response, request.sink)
                        return request.result(response)
                    response.read()
                    delay_secs = retries.delay_after_response(response)
            except (httpx.RequestError, DamagedError) as error:
                delay_secs = retries.delay_after_error(error)
            sleep(delay_secs)

    def _receive(self, response: httpx.Response, sink: Callable[[], AtomicFile] | None) -> None:
        if sink is None:
            response.read()
            return
        file = run_blocking(sink)
        try:
            for data in response.iter_bytes():
                run_blocking(file.write, data)
            run_blocking(file.commit)
        finally:
            file.abort()

    def _jobs(self, params: Mapping[str, Any], limit: int | None) -> Iterator[Job]:
        for job in self._pages("/v1/jobs", "jobs", Job, params, limit):
            yield job._of(self)

    def _pages(
        self, path: str, field: str, model: type[M], params: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[M]:
        left = sys.maxsize if limit is None else limit
        request = Request(
            "GET", path, parse_page(field, model), params={**(params or {}), "limit": min(left, PAGE_LIMIT)}
        )
        while left > 0:
            items, following = self.send(request)
            yield from items[:left]
            if following is None:
                return
            left -= len(items)
            request = Request("GET", following, request.parse)


class Job(rest.Job):
    """A job as it was when the server was asked, with what can be done with it."""

    _client: Client = PrivateAttr()

    def _of(self, client: Client) -> Self:
        self._client = client
        return self

    def refresh(self) -> Job:
        """Return the job as it is now."""
        return self._client.job(self.id)

    def wait(self, *, timeout_secs: float | None = None, on_progress: Callable[[Job], object] = ignore) -> Job:
        """Return the job as soon as it has ended, or as it is after `timeout_secs`."""
        return self._client.wait(self.id, timeout_secs=timeout_secs, on_progress=on_progress)

    def download(self, folder: str | os.PathLike[str]) -> int:
        """Save its results so far below a folder; return how many were not there already."""
        return self._client.download_all(self.id, folder)

    def manifest(self, form: Form = "geojson") -> bytes:
        """Return the manifest of its results so far as a file: GeoJSON, CSV, or lines of JSON."""
        return self._client.manifest(self.id, form)

    def cancel(self) -> Job:
        """Cancel it; results made so far stay."""
        return self._client.cancel(self.id)
