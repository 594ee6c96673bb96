"""Group input: the results of a group's images, one after the other, as the group's listing in the store names them."""

from collections.abc import Callable, Iterator
from functools import partial

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.groups import Member, listing_key, read_members
from penstock.common.model.messages import Result
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.steps.groups.image import GroupImage
from penstock.worker.context import WorkerContext
from penstock.worker.image_sources import ImageSources
from penstock.worker.watchdog import Watchdog

_PIECE_BYTES = 1024 * 1024


class GroupStoppedError(Exception):
    """The worker drains in the middle of a group, which another one starts again."""


class GroupImages:
    """Iterates over the results of a group's images, in the order of the images' names.

    A group of any size takes little memory: the listing is read in pieces, and a file when the step asks for it.

    Args:
        store: where the listing is.
        sources: reads the results.
        listing: the key of the group's listing.
        on_read: is called before each image and each file, with the number of images so far. It ends the step by an
            exception of its own.
    """

    def __init__(self, store: Store, sources: ImageSources, listing: str, on_read: Callable[[int], None]) -> None:
        self._store = store
        self._sources = sources
        self._listing = listing
        self._on_read = on_read
        self._count = 0

    def __iter__(self) -> Iterator[GroupImage]:
        self._count = 0
        try:
            for member in read_members(self._pieces()):
                for result in member.results:
                    self._count += 1
                    self._on_read(self._count)
                    yield self._image(member, result)
        except ObjectNotFoundError as error:
            message = "the list of the group's images is missing from the store"
            raise ImageError(ImageCode.SOURCE_NOT_FOUND, message) from error

    def _pieces(self) -> Iterator[bytes]:
        """Yield the listing piece by piece. No request is open meanwhile: a store would end one that takes hours."""
        size_bytes = self._store.size(self._listing)
        if size_bytes is None:
            raise ObjectNotFoundError(self._listing)
        for start in range(0, size_bytes, _PIECE_BYTES):
            yield from self._store.stream(self._listing, start, min(start + _PIECE_BYTES, size_bytes))

    def _image(self, member: Member, result: Result) -> GroupImage:
        return GroupImage(
            name=result.name,
            width=result.width,
            height=result.height,
            regions=result.regions,
            place=result.place,
            labels=member.labels,
            data=partial(self._read, result),
            limits=self._sources.limits,
        )

    def _read(self, result: Result) -> bytes:
        self._on_read(self._count)
        try:
            return self._sources.read(result.key)
        except ImageError as error:
            gone = error.code is ImageCode.SOURCE_NOT_FOUND
            raise ImageError(
                error.code, f"{result.name}: {'the result was removed' if gone else error.message}"
            ) from error


def open_group(
    context: WorkerContext, source: str, step: str, watchdog: Watchdog, should_stop: Callable[[], bool]
) -> GroupImages:
    """Return the images of a group, given its source in a message, for a step that `watchdog` limits.

    Each image may take as long as an image in any other step. To take one raises GroupStoppedError if `should_stop`
    returns true, and what that raises.

    Raises:
        ImageError: the source is not that of a group.
    """
    listing = listing_key(source)
    if listing is None:
        raise ImageError(ImageCode.INTERNAL, f"{source[:80]!r} is not where a group's images are listed")
    elsewhere_secs = context.executor.time_limit_secs(step)

    def prolong(count: int) -> None:
        if should_stop():
            raise GroupStoppedError
        watchdog.limit(elsewhere_secs and elsewhere_secs * count)

    return GroupImages(context.store, context.sources, listing, prolong)
