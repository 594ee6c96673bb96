"""`AsyncClient`: the REST API for programs that do something else meanwhile. Runs on asyncio and on trio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import httpx
from anyio.to_thread import run_sync

from penstock.client import endpoints as calls
from penstock.client.access import CONNECTIONS, Access
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

T = TypeVar("T")


class AsyncClient:
    """A Penstock server, as `Client` with the same methods; to be used with `async with`, or closed with `aclose`.

    What is an iterator there is gone through with `async for` here.
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
        self._http = self._access.open(httpx.AsyncClient)

    @property
    def server(self) -> str:
        """The server's URL."""
        return self._access.server

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def submit(
        self,
        document: Mapping[str, Any],
        files: Paths = (),
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Create a job of a job document, whose `inputs` name its pictures, or of files and folders of this host."""
        photos = await run_sync(find_photos, files)
        if photos:
            calls.check_free_inputs(document)
            upload = await self.begin_upload()
            await self.send_files(upload.id, photos)
            document = {**document, "inputs": [{"upload": upload.id}]}
        return await self.send(calls.submit(document, idempotency_key))

    async def estimate(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a job document would do, and create nothing."""
        return await self.send(calls.estimate(document))

    async def jobs(
        self, *, state: str | None = None, label: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Job]:
        """Yield jobs, newest first; `label` is `key=value`."""
        if limit == 0:
            return
        left = limit
        async for job in self._pages(calls.list_jobs(state, label, limit or calls.MAX_LIMIT)):
            yield job
            left = None if left is None else left - 1
            if left == 0:
                return

    async def job(self, job: str) -> Job:
        """Return a job as it is now."""
        return await self.send(calls.get_job(job))

    def images(self, job: str, *, state: str | None = None) -> AsyncIterator[Image]:
        """Yield a job's images in their order."""
        return self._pages(calls.list_images(job, state))

    def results(self, job: str) -> AsyncIterator[Result]:
        """Yield the manifest so far."""
        return self._pages(calls.list_results(job))

    async def wait(
        self, job: str, *, timeout_secs: float | None = None, on_progress: Callable[[Job], object] = ignore
    ) -> Job:
        """Return a job once it has ended, or as it is when the time is up."""
        pauses = poll_pauses(timeout_secs)
        while True:
            found = await self.job(job)
            on_progress(found)
            pause_secs = next(pauses, None)
            if found.has_ended or pause_secs is None:
                return found
            await anyio.sleep(pause_secs)

    async def events(self, job: str, *, last_id: str | None = None) -> AsyncIterator[Event]:
        """Yield a job's events until its end, through cut connections, each `image-failed` once."""
        reader, call = EventReader(last_id), calls.events(job)
        attempts = self._attempts(call)
        while True:
            try:
                async with self._http.stream(**call.request(reader.restart())) as response:
                    if response.is_success:
                        async for line in response.aiter_lines():
                            if (event := reader.take(line)) is not None:
                                yield event
                                if event.kind == "end":
                                    return
                                attempts = self._attempts(call)
                        raise httpx.RemoteProtocolError(ENDED_EARLY)
                    await response.aread()
                    pause_secs = attempts.pause_after_answer(response)
            except httpx.RequestError as error:
                pause_secs = attempts.pause_after_error(error)
            await anyio.sleep(pause_secs)

    async def cancel(self, job: str) -> Job:
        """Stop a job; results made so far stay."""
        return await self.send(calls.cancel(job))

    async def retry(self, job: str, images: Sequence[int] | None = None) -> Retried:
        """Try a job's failed images again: all, or those."""
        return await self.send(calls.retry(job, images))

    async def delete(self, job: str) -> None:
        """Remove a job that has ended, its files and its results."""
        await self.send(calls.delete(job))

    async def deliveries(self, job: str) -> list[Notice]:
        """Return what its webhook was told of a job's ends, and when, the last end first; nothing without a webhook."""
        return await self.send(calls.list_deliveries(job))

    async def operations(self) -> list[Operation]:
        """Return every operation that jobs can name."""
        return await self.send(calls.list_operations())

    async def steps(self) -> list[Step]:
        """Return every step, and how busy it is."""
        return (await self.system()).steps

    async def system(self) -> System:
        """Return every step, and what would bring their work to its end sooner."""
        return await self.send(calls.look_at_system())

    async def is_ready(self) -> bool:
        """Tell whether the server can accept jobs."""
        try:
            return await self.send(calls.is_ready(), patience_secs=0)
        except UnavailableError:
            return False

    async def begin_upload(self) -> Upload:
        """Begin an upload."""
        return await self.send(calls.begin_upload())

    def uploaded(self, upload: str) -> AsyncIterator[UploadedFile]:
        """Yield the files of an upload that have arrived."""
        return self._pages(calls.list_upload(upload))

    async def send_file(self, upload: str, photo: Photo) -> UploadedFile:
        """Send one file; once it returns, the file is there to stay."""
        return await self.send(calls.send_file(upload, photo, await run_sync(photo.digest)))

    async def send_files(
        self, upload: str, photos: Iterable[Photo], on_sent: Callable[[UploadedFile], object] = ignore
    ) -> None:
        """Send files, a few at the same time."""
        shared = iter(photos)
        failures: list[Exception] = []

        async def work_off() -> None:
            for photo in shared:
                if failures:
                    return
                try:
                    on_sent(await self.send_file(upload, photo))
                except Exception as error:  # raised below, alone: not in the group that tasks would make of it
                    failures.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(CONNECTIONS):
                group.start_soon(work_off)
        if failures:
            raise failures[0]

    async def download(self, result: Result, folder: str | os.PathLike[str]) -> bool:
        """Save a result below a folder; return whether it had to be fetched: the right bytes may be there already."""
        target = target_path(Path(folder), result.name)
        if await run_sync(is_saved, target, result.size, result.sha256):
            return False
        await self.send(calls.download(result, lambda: Saving(target, result.sha256)))
        return True

    async def send(self, call: Call[T], *, patience_secs: float | None = None) -> T:
        """Make a call, as often as it takes."""
        attempts = self._attempts(call, patience_secs)
        while True:
            try:
                content = _pieces(call.body()) if call.body else None
                async with self._http.stream(**call.request(), content=content) as response:
                    if attempts.is_answered(response):
                        return await _take(call, response)
                    await response.aread()
                    pause_secs = attempts.pause_after_answer(response)
            except (httpx.RequestError, DamagedError) as error:
                pause_secs = attempts.pause_after_error(error)
            await anyio.sleep(pause_secs)

    async def _pages(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        following: Call[Page[T]] | None = call
        while following is not None:
            page = await self.send(following)
            for item in page.items:
                yield item
            following = calls.follow(page, call)

    def _attempts(self, call: Call[Any], patience_secs: float | None = None) -> Attempts:
        patience_secs = self._access.patience_secs if patience_secs is None else patience_secs
        return Attempts(call, self.server, patience_secs)


async def _pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await run_sync(next, pieces, None)) is not None:
        yield piece


async def _take(call: Call[T], response: httpx.Response) -> T:
    if call.sink is None:
        await response.aread()
        return call.answer(response)
    sink = await run_sync(call.sink)
    try:
        async for piece in response.aiter_bytes():
            await run_sync(sink.write, piece)
        return await run_sync(sink.finish)
    finally:
        sink.abort()
