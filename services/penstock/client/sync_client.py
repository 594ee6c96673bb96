"""`Client`: the REST API for programs that wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from penstock.client import endpoints as calls
from penstock.client.access import Access
from penstock.client.endpoints import Page
from penstock.client.errors import DamagedError, UnavailableError
from penstock.client.event_stream import ENDED_EARLY, EventReader
from penstock.client.exchange import PATIENCE_SECS, TIMEOUT_SECS, Attempts, Call, ignore
from penstock.client.local_files import Paths, Photo, Saving, find_photos, is_saved, target_path
from penstock.client.models import (
    Event,
    Image,
    Job,
    Notice,
    Operation,
    Result,
    Retried,
    Step,
    System,
    Upload,
    UploadedFile,
)
from penstock.client.polling import poll_pauses
from penstock.client.transfers import at_once

T = TypeVar("T")


class Client:
    """A Penstock server. For any number of threads; to be closed, or used with `with`.

    Every method raises RefusedError where the server says no, UnavailableError where it is away or full for longer
    than `patience_secs`, and UnexpectedAnswerError where something else than Penstock answers.

    Args:
        server: URL; PENSTOCK_SERVER, or http://127.0.0.1:8080, where it is not given.
        api_key: PENSTOCK_API_KEY where it is not given.
        verify: a file of certificates to trust (PENSTOCK_TLS_CA), or False to trust any.
        timeout_secs: for a connection, and for each piece of an answer.
        patience_secs: how long a call is tried again.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        verify: bool | str | Path | None = None,
        timeout_secs: float = TIMEOUT_SECS,
        patience_secs: float = PATIENCE_SECS,
    ) -> None:
        self._access = Access.of(server, api_key, verify, timeout_secs, patience_secs)
        self._http = self._access.open(httpx.Client)

    @property
    def server(self) -> str:
        """The server's URL."""
        return self._access.server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def submit(
        self,
        document: Mapping[str, Any],
        files: Paths = (),
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Create a job of a job document, whose `inputs` name its pictures, or of files and folders of this host.

        Raises:
            LocalFileError: a file is not there or cannot be read.
            ValueError: both a document with `inputs` and files.
        """
        photos = find_photos(files)
        if photos:
            calls.check_free_inputs(document)
            upload = self.begin_upload()
            self.send_files(upload.id, photos)
            document = {**document, "inputs": [{"upload": upload.id}]}
        return self.send(calls.submit(document, idempotency_key))

    def estimate(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a job document would do, and create nothing."""
        return self.send(calls.estimate(document))

    def jobs(self, *, state: str | None = None, label: str | None = None, limit: int | None = None) -> Iterator[Job]:
        """Yield jobs, newest first; `label` is `key=value`."""
        return islice(self._pages(calls.list_jobs(state, label, limit or calls.MAX_LIMIT)), limit)

    def job(self, job: str) -> Job:
        """Return a job as it is now."""
        return self.send(calls.get_job(job))

    def images(self, job: str, *, state: str | None = None) -> Iterator[Image]:
        """Yield a job's images in their order."""
        return self._pages(calls.list_images(job, state))

    def results(self, job: str) -> Iterator[Result]:
        """Yield the manifest so far."""
        return self._pages(calls.list_results(job))

    def wait(
        self, job: str, *, timeout_secs: float | None = None, on_progress: Callable[[Job], object] = ignore
    ) -> Job:
        """Return a job once it has ended, or as it is when the time is up."""
        pauses = poll_pauses(timeout_secs)
        while True:
            found = self.job(job)
            on_progress(found)
            pause_secs = next(pauses, None)
            if found.has_ended or pause_secs is None:
                return found
            time.sleep(pause_secs)

    def events(self, job: str, *, last_id: str | None = None) -> Iterator[Event]:
        """Yield a job's events until its end, through cut connections, each `image-failed` once."""
        reader, call = EventReader(last_id), calls.events(job)
        attempts = self._attempts(call)
        while True:
            try:
                with self._http.stream(**call.request(reader.restart())) as response:
                    if response.is_success:
                        for line in response.iter_lines():
                            if (event := reader.take(line)) is not None:
                                yield event
                                if event.kind == "end":
                                    return
                                attempts = self._attempts(call)
                        raise httpx.RemoteProtocolError(ENDED_EARLY)
                    response.read()
                    pause_secs = attempts.pause_after_answer(response)
            except httpx.RequestError as error:
                pause_secs = attempts.pause_after_error(error)
            time.sleep(pause_secs)

    def cancel(self, job: str) -> Job:
        """Stop a job; results made so far stay."""
        return self.send(calls.cancel(job))

    def retry(self, job: str, images: Sequence[int] | None = None) -> Retried:
        """Try a job's failed images again: all, or those."""
        return self.send(calls.retry(job, images))

    def delete(self, job: str) -> None:
        """Remove a job that has ended, its files and its results."""
        self.send(calls.delete(job))

    def deliveries(self, job: str) -> list[Notice]:
        """Return what its webhook was told of a job's ends, and when, the last end first; nothing without a webhook."""
        return self.send(calls.list_deliveries(job))

    def operations(self) -> list[Operation]:
        """Return every operation that jobs can name."""
        return self.send(calls.list_operations())

    def steps(self) -> list[Step]:
        """Return every step, and how busy it is."""
        return self.system().steps

    def system(self) -> System:
        """Return every step, and what would bring their work to its end sooner."""
        return self.send(calls.look_at_system())

    def is_ready(self) -> bool:
        """Tell whether the server can accept jobs."""
        try:
            return self.send(calls.is_ready(), patience_secs=0)
        except UnavailableError:
            return False

    def begin_upload(self) -> Upload:
        """Begin an upload."""
        return self.send(calls.begin_upload())

    def uploaded(self, upload: str) -> Iterator[UploadedFile]:
        """Yield the files of an upload that have arrived."""
        return self._pages(calls.list_upload(upload))

    def send_file(self, upload: str, photo: Photo) -> UploadedFile:
        """Send one file; once it returns, the file is there to stay."""
        return self.send(calls.send_file(upload, photo, photo.digest()))

    def send_files(
        self, upload: str, photos: Iterable[Photo], on_sent: Callable[[UploadedFile], object] = ignore
    ) -> None:
        """Send files, a few at the same time; `on_sent` is called from their threads."""
        at_once(lambda photo: on_sent(self.send_file(upload, photo)), photos)

    def download(self, result: Result, folder: str | os.PathLike[str]) -> bool:
        """Save a result below a folder; return whether it had to be fetched: the right bytes may be there already.

        Raises:
            LocalFileError: its name leads out of the folder, or it cannot be written.
            DamagedError: other bytes come than its checksum says.
        """
        target = target_path(Path(folder), result.name)
        if is_saved(target, result.size, result.sha256):
            return False
        self.send(calls.download(result, lambda: Saving(target, result.sha256)))
        return True

    def send(self, call: Call[T], *, patience_secs: float | None = None) -> T:
        """Make a call, as often as it takes."""
        attempts = self._attempts(call, patience_secs)
        while True:
            try:
                with self._http.stream(**call.request(), content=call.body and call.body()) as response:
                    if attempts.is_answered(response):
                        return _take(call, response)
                    response.read()
                    pause_secs = attempts.pause_after_answer(response)
            except (httpx.RequestError, DamagedError) as error:
                pause_secs = attempts.pause_after_error(error)
            time.sleep(pause_secs)

    def _pages(self, call: Call[Page[T]]) -> Iterator[T]:
        following: Call[Page[T]] | None = call
        while following is not None:
            page = self.send(following)
            yield from page.items
            following = calls.follow(page, call)

    def _attempts(self, call: Call[Any], patience_secs: float | None = None) -> Attempts:
        patience_secs = self._access.patience_secs if patience_secs is None else patience_secs
        return Attempts(call, self.server, patience_secs)


def _take(call: Call[T], response: httpx.Response) -> T:
    if call.sink is None:
        response.read()
        return call.answer(response)
    sink = call.sink()
    try:
        for piece in response.iter_bytes():
            sink.write(piece)
        return sink.finish()
    finally:
        sink.abort()
