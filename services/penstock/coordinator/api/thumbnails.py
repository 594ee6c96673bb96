"""Thumbnails: small images of sources and results, which workers make on the first request."""

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import TERMINAL_IMAGE_STATES, ImageState, JobState
from penstock.common.model.operations import Decode, Encode, Resize
from penstock.common.model.plan import Plan, Planned, check_enabled
from penstock.common.store.keys import thumbnail_key
from penstock.coordinator.api.responses.processed import failure_status
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.transient_jobs import TransientJobs
from penstock.coordinator.api.waiting import wait_for_end, wait_until_left
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import TRANSIENT, Image, Job, StoredPlan

MAX_SIDE = 320
"""Longest side of a thumbnail, in pixels."""
MAX_BYTES = 16_000

_QUALITY = 80
_MAX_SHARED = 16
"""Up to so many results of an image share its pixels and bytes; pages show no more of them together."""
_MOST_AT_ONCE = 16
_MOST_WANTED = 512
"""Thumbnails that are being made or wait for it: ten pages."""
_MOST_FAILED = 10_000
_RETRY_SECS = 60.0
"""For how long a failure is kept where another attempt may help."""


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail that may have to be made. `ref` is the image that it shows, `key` where it is kept."""

    job: Job
    ref: str
    key: str
    max_side: int = MAX_SIDE
    max_bytes: int = MAX_BYTES
    may_change: bool = False
    """Whether the image may be another one later, as results of groups may after a retry."""

    @classmethod
    def of_source(cls, job: Job, image: Image) -> "Thumbnail":
        """Return that of an image's input file. Raises RequestError: 404 for a group, which has none."""
        if image.is_group:
            raise not_found(f"input file of image {image.id}, a group")
        return cls(job, image.ref, thumbnail_key(job.id, image.id, None))

    @classmethod
    def of_result(cls, job: Job, image: Image, part: int) -> "Thumbnail":
        """Return that of one of an image's results. If it has several, theirs are smaller.

        Raises:
            RequestError: 404 if there is no such result.
        """
        if part >= len(image.results):
            raise not_found(f"result {part} of image {image.id}")
        shared = len(image.results) if len(image.results) <= _MAX_SHARED else 1
        columns = math.ceil(math.sqrt(shared))
        may_change = image.is_group
        key = thumbnail_key(job.id, image.id, part, image.results[part].sha256[:8] if may_change else "")
        result = image.results[part].key
        return cls(job, result, key, MAX_SIDE // columns, MAX_BYTES // columns**2, may_change)

    def plan(self) -> Plan:
        """Return the operations that make it."""
        resize = Resize(width=self.max_side, height=self.max_side, fit="inside", enlarge=False)
        encode = Encode(format="jpg", quality=_QUALITY, max_bytes=self.max_bytes)
        decode = Decode(mode="scaled", metadata="none", profile="srgb")
        return Plan((Planned("resize", resize), Planned("encode", encode)), decode)


@dataclass
class _Making:
    """A thumbnail that is being made, and how many requests wait for it."""

    task: "asyncio.Task[bytes]"
    requests: int = 0


@dataclass(frozen=True)
class _Failed:
    """Why there is no thumbnail, and until when (by the monotonic clock) that is not tried again."""

    error: RequestError
    until: float


class Thumbnails:
    """Makes thumbnails, each once at a time, and keeps them in the store. To be used from one event loop.

    Each is a job with one image, with the priority of the job that it belongs to. It has no owner, so that it counts
    for no quota, and all thumbnails together are served like one owner's jobs. What fails once fails again, so that it
    is remembered, by this process.
    """

    def __init__(self, services: Services, transient_jobs: TransientJobs) -> None:
        self._services = services
        self._transient_jobs = transient_jobs
        self._making: dict[str, _Making] = {}
        self._failed: OrderedDict[str, _Failed] = OrderedDict()
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)

    async def make(self, thumbnail: Thumbnail, request: Request) -> bytes:
        """Return a thumbnail that is not kept yet. It is given up once all clients have left that asked for it.

        Raises:
            RequestError: 422 if resize is disabled; 429 if too many others are being made; otherwise, the image cannot
                be read, or it takes too long.
            ClientDisconnect: the client left.
        """
        making = self._begin(thumbnail)
        leaving = asyncio.create_task(wait_until_left(request))
        making.requests += 1
        try:
            await asyncio.wait({making.task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not making.task.done():
                raise ClientDisconnect
            return making.task.result()
        finally:
            leaving.cancel()
            making.requests -= 1
            if not making.requests and not making.task.done():
                self._making.pop(thumbnail.key)
                making.task.cancel()

    def _begin(self, thumbnail: Thumbnail) -> _Making:
        """Return the thumbnail as it is being made; begin to if nobody has."""
        if making := self._making.get(thumbnail.key):
            return making
        failed = self._failed.get(thumbnail.key)
        if failed is not None and time.monotonic() < failed.until:
            raise failed.error
        for step in thumbnail.plan().steps:
            check_enabled(step)
        if len(self._making) >= _MOST_WANTED:
            message = f"{_MOST_WANTED} thumbnails are being made, which is the limit; try again later"
            raise RequestError(429, "too_many_thumbnails", message)
        making = self._making[thumbnail.key] = _Making(asyncio.create_task(self._make(thumbnail)))
        making.task.add_done_callback(partial(self._end, thumbnail.key, making))
        return making

    def _end(self, key: str, making: _Making, task: "asyncio.Task[bytes]") -> None:
        if self._making.get(key) is making:
            del self._making[key]
        if not task.cancelled():
            task.exception()  # seen, should nobody wait any more

    async def _make(self, thumbnail: Thumbnail) -> bytes:
        services = self._services
        secs = services.limits.max_wait_secs
        job = _job_of(thumbnail)
        async with self._free:
            submitting = asyncio.ensure_future(run_in_threadpool(self._submit, job, thumbnail))
            try:
                await asyncio.shield(submitting)
                data = await wait_for_end(None, services, job.id, secs, partial(self._fetch, thumbnail, job.id))
            finally:  # also if this was cancelled while the job was being created
                submitting.add_done_callback(partial(self._delete, job))
        if data is None:
            raise RequestError(504, "timeout", f"the thumbnail was not made within {secs:g} s; try again")
        return data

    def _delete(self, job: Job, submitting: "asyncio.Future[None]") -> None:
        if not submitting.cancelled() and submitting.exception() is None:
            self._transient_jobs.delete_soon(job)

    def _submit(self, job: Job, thumbnail: Thumbnail) -> None:
        image = Image(0, "thumbnail", "thumbnail", thumbnail.ref)
        created = self._services.scheduler.create_small(job, [image])
        self._services.scheduler.start_small(created, [image])

    def _fetch(self, thumbnail: Thumbnail, job: str) -> bytes | None:
        """Return the thumbnail if its job has made it, and keep it."""
        image = self._services.scheduler.find_small(job)
        if image is None or image.state not in TERMINAL_IMAGE_STATES:
            return None
        if image.state is not ImageState.DONE or not image.results:
            error = image.error or {"code": "internal", "message": "its job was cancelled", "retry": True}
            refusal = RequestError(failure_status(error["code"]), error["code"], f"no thumbnail: {error['message']}")
            self._remember(thumbnail.key, refusal, math.inf if not error["retry"] else _RETRY_SECS)
            raise refusal
        data = self._services.store.get(image.results[0].key)
        self._services.store.put(thumbnail.key, [data])
        return data

    def _remember(self, key: str, error: RequestError, secs: float) -> None:
        self._failed[key] = _Failed(error, time.monotonic() + secs)
        if len(self._failed) > _MOST_FAILED:
            self._failed.popitem(last=False)


def _job_of(thumbnail: Thumbnail) -> Job:
    return Job(
        id=new_id(),
        state=JobState.RECEIVING,
        plan=StoredPlan(thumbnail.plan().document()),
        document={TRANSIENT: True},
        created_at=time.time(),
        name="thumbnail",
        labels={TRANSIENT: "true"},
        priority=thumbnail.job.priority,
    )
