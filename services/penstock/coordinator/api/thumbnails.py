"""Thumbnails: small images of sources and results, which workers make on the first request."""

import asyncio
import math
import time
from dataclasses import dataclass
from functools import partial

from starlette.concurrency import run_in_threadpool

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import TERMINAL_IMAGE_STATES, ImageState, JobState
from penstock.common.model.operations import Decode, Encode, Resize
from penstock.common.model.plan import Plan, Planned
from penstock.common.store.keys import thumbnail_key
from penstock.coordinator.api.responses.processed import failure_status
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.transient_jobs import TransientJobs
from penstock.coordinator.api.waiting import wait_for_end
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import TRANSIENT, Image, Job, StoredPlan

MAX_SIDE = 320
"""Longest side of a thumbnail, in pixels."""
MAX_BYTES = 20_000

_QUALITY = 80
_MAX_SHARED = 16
"""Up to so many results of an image share its pixels and bytes; pages show no more of them together."""
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail that may have to be made. `ref` is the image that it shows, `key` where it is kept."""

    job: Job
    ref: str
    key: str
    max_side: int = MAX_SIDE
    max_bytes: int = MAX_BYTES

    @classmethod
    def of_source(cls, job: Job, image: Image) -> "Thumbnail":
        """Return that of an image's input file."""
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
        key = thumbnail_key(job.id, image.id, part)
        return cls(job, image.results[part].key, key, MAX_SIDE // columns, MAX_BYTES // columns**2)

    def plan(self) -> Plan:
        """Return the operations that make it."""
        resize = Resize(width=self.max_side, height=self.max_side, fit="inside", enlarge=False)
        encode = Encode(format="jpg", quality=_QUALITY, max_bytes=self.max_bytes)
        decode = Decode(mode="scaled", metadata="none", profile="srgb")
        return Plan((Planned("resize", resize), Planned("encode", encode)), decode)


class Thumbnails:
    """Makes thumbnails, each once at a time, and keeps them in the store. To be used from one event loop.

    Each is a job with one image, with the priority of the job that it belongs to. It has no owner, so that it counts
    for no quota, and all thumbnails together are served like one owner's jobs.
    """

    def __init__(self, services: Services, transient_jobs: TransientJobs) -> None:
        self._services = services
        self._transient_jobs = transient_jobs
        self._making: dict[str, asyncio.Task[bytes]] = {}
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)

    async def make(self, thumbnail: Thumbnail) -> bytes:
        """Return a thumbnail that is not kept yet. It is made to the end even if nobody waits for it any more.

        Raises:
            RequestError: the image cannot be read, or it takes too long.
        """
        task = self._making.get(thumbnail.key)
        if task is None:
            task = self._making[thumbnail.key] = asyncio.create_task(self._make(thumbnail))
            task.add_done_callback(partial(self._forget, thumbnail.key))
        return await asyncio.shield(task)

    def _forget(self, key: str, task: "asyncio.Task[bytes]") -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # seen, should nobody wait any more

    async def _make(self, thumbnail: Thumbnail) -> bytes:
        services = self._services
        secs = services.limits.max_wait_secs
        async with self._free:
            job = await run_in_threadpool(self._submit, thumbnail)
            try:
                data = await wait_for_end(None, services, job.id, secs, partial(self._fetch, thumbnail, job.id))
            finally:
                self._transient_jobs.delete_soon(job)
        if data is None:
            raise RequestError(504, "timeout", f"the thumbnail was not made within {secs:g} s; try again")
        return data

    def _submit(self, thumbnail: Thumbnail) -> Job:
        job = Job(
            id=new_id(),
            state=JobState.RECEIVING,
            plan=StoredPlan(thumbnail.plan().document()),
            document={TRANSIENT: True},
            created_at=time.time(),
            name="thumbnail",
            labels={TRANSIENT: "true"},
            priority=thumbnail.job.priority,
        )
        image = Image(0, "thumbnail", "thumbnail", thumbnail.ref)
        accepted = self._services.repository.create_accepted(job, [image])
        self._services.scheduler.wake()
        return accepted

    def _fetch(self, thumbnail: Thumbnail, job: str) -> bytes | None:
        """Return the thumbnail if its job has made it, and keep it."""
        image = self._services.repository.get_image(job, 0)
        if image is None or image.state not in TERMINAL_IMAGE_STATES:
            return None
        if image.state is not ImageState.DONE or not image.results:
            error = image.error or {"code": "internal", "message": "its job was cancelled"}
            raise RequestError(failure_status(error["code"]), error["code"], f"no thumbnail: {error['message']}")
        data = self._services.store.get(image.results[0].key)
        self._services.store.put(thumbnail.key, [data])
        return data
