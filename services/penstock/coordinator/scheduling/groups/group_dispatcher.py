"""GroupDispatcher: writes the listing of a group's images to the store, and then publishes the group.

The listing of a group of a million images takes a while, and the dispatcher has other jobs to serve meanwhile. Results
that the group has of an earlier run are removed first: if that is interrupted, the group is dispatched again.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from penstock.common.model.errors import ImageCode, UnavailableError
from penstock.common.model.groups import Member, group_source, write_member
from penstock.common.model.messages import Failure
from penstock.common.store.base import Store
from penstock.common.store.keys import members_key
from penstock.coordinator.ports.repository import Image, Job, Repository
from penstock.coordinator.scheduling.in_flight import InFlight

log = logging.getLogger(__name__)

_MEMBERS_PER_PAGE = 500
_BLOCK_BYTES = 256 * 1024
_TASK = "groups"


class GroupDispatcher:
    """One thread. `publish` publishes a group with its listing as the source, or the event of its failure."""

    def __init__(
        self,
        repository: Repository,
        store: Store,
        in_flight: InFlight,
        publish: Callable[[Job, Image, Failure | None], None],
        retry_secs: float,
    ) -> None:
        self._repository = repository
        self._store = store
        self._in_flight = in_flight
        self._publish = publish
        self._retry_secs = retry_secs
        self._stopping = False
        self._thread = ThreadPoolExecutor(1, "groups")

    def dispatch(self, job: Job, group: Image) -> None:
        """Publish a group that the database has as dispatched, once its listing is written."""
        self._thread.submit(self._dispatch, job, group)

    def stop(self) -> None:
        """Stop the thread after the group in progress; the reconciler of the next leader finds the others."""
        self._stopping = True
        self._thread.shutdown(cancel_futures=True)

    def _dispatch(self, job: Job, group: Image) -> None:
        while not self._stopping:
            try:
                self._list_and_publish(job, group)
            except UnavailableError as error:
                self._in_flight.outage.begin(error, _TASK)
                time.sleep(self._retry_secs)
            except Exception:
                log.exception("group not dispatched: unexpected error; it will be requeued", extra={"job": job.id})
                return
            else:
                self._in_flight.outage.end(_TASK)
                return

    def _list_and_publish(self, job: Job, group: Image) -> None:
        if group.stale_results:
            self._store.delete(*(result.key for result in group.stale_results))
        key = members_key(job.id, job.run, group.id)
        if self._store.size(key) is None and not self._write_listing(job, group, key):
            self._publish(job, group, _no_images(job))
            return
        self._publish(job, replace(group, ref=group_source(key)), None)

    def _write_listing(self, job: Job, group: Image, key: str) -> bool:
        """Write the listing of a group in memory for one page; return whether it has any images."""
        pages = self._pages(job, group)
        first = next(pages, b"")
        if not first:
            return False
        upload = self._store.upload(key)
        try:
            upload.write(first)
            for page in pages:
                upload.write(page)
            upload.commit()
        except BaseException:
            upload.abort()
            raise
        return True

    def _pages(self, job: Job, group: Image) -> Iterator[bytes]:
        after, block = "", bytearray()
        while members := self._repository.list_members(job.id, group.id, after=after, limit=_MEMBERS_PER_PAGE):
            for image in members:
                labels = json.loads(image.labels) if image.labels else {}
                block += write_member(Member(name=image.name, results=image.results, labels=labels))
            if len(block) >= _BLOCK_BYTES:
                yield bytes(block)
                block.clear()
            after = members[-1].name
        if block:
            yield bytes(block)


def _no_images(job: Job) -> Failure:
    gather = job.plan.layout.gather
    assert gather is not None
    step = job.plan.steps[gather.start]
    message = "no image of the group succeeded"
    return Failure(code=ImageCode.NO_IMAGES, message=message, step=step, retry=True, step_index=gather.start)
