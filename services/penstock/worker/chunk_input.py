"""ChunkInput: reads a chunk's blob or its images' files, when they are needed or ahead of time.

Reading ahead serves stores that take milliseconds to answer. While one chunk is processed, the next chunk's blob or
first file is read; while one image is processed, the next one's file.
"""

import threading
from concurrent.futures import Executor, Future
from functools import partial
from itertools import pairwise

from penstock.common.model.messages import Chunk, ImageRef
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.worker.executors.base import Part
from penstock.worker.executors.safetensors import Blob
from penstock.worker.image_sources import ImageSources
from penstock.worker.memory import WorkerMemory


class BlobLostError(Exception):
    """The chunk's blob is gone or damaged; its images must start from their sources again."""


class PixelBudget:
    """Counts the pixels that wait for the next step or were read ahead. May be used from any thread.

    `max_pixels` is a threshold, not a limit: one image may exceed it, and its holder then stores what it keeps.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._held: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """The pixels held now."""
        with self._lock:
            return sum(self._held.values())

    @property
    def is_exceeded(self) -> bool:
        """Whether more pixels are held than the budget allows."""
        return self.used > self._max_pixels

    def has_room(self, pixels: int) -> bool:
        """Return whether this many more pixels fit."""
        return self.used + pixels <= self._max_pixels

    def hold(self, holder: object, pixels: int) -> None:
        """Set how many pixels `holder` keeps in memory; 0 releases them."""
        with self._lock:
            self._held.pop(holder, None)
            if pixels:
                self._held[holder] = pixels


class ChunkInput:
    """The input of one chunk. `prefetcher` runs what is read ahead; None: nothing is.

    A blob counts against the pixel budget until `release`, and is read ahead only if the budget has room for it. Of a
    blob that `memory` has no room for, or that images share whose workers may have died of it, only the parts of one
    image are read at a time.
    """

    def __init__(
        self,
        chunk: Chunk,
        store: Store,
        sources: ImageSources,
        budget: PixelBudget,
        prefetcher: Executor | None,
        memory: WorkerMemory | None = None,
    ) -> None:
        self._chunk = chunk
        self._store = store
        self._sources = sources
        self._budget = budget
        self._prefetcher = prefetcher
        self._memory = memory
        refs = [image.ref for image in chunk.images]
        self._next_ref = {ref: after for ref, after in pairwise(refs) if ref != after}
        self._prefetched: dict[str, Future[bytes]] = {}
        self._blob: Blob | None = None

    def prefetch(self) -> None:
        """Start to read the blob or the first image's file."""
        chunk = self._chunk
        if chunk.blob is None:
            self._prefetch_source(chunk.images[0].ref)
        elif self._prefetcher and chunk.pixels and self._budget.has_room(chunk.pixels):
            self._budget.hold(self, chunk.pixels)
            self._prefetched[chunk.blob] = self._prefetcher.submit(self._store.get, chunk.blob)

    def read(self, image: ImageRef) -> list[Part]:
        """Return an image's file, to be decoded, or its parts from the blob, as read-only arrays.

        Raises:
            BlobLostError: the blob is gone or damaged.
            ImageError: source_not_found, source_forbidden, too_large_file, or too_many_pixels for the memory.
            UnavailableError: the store is unreachable.
        """
        if self._chunk.blob is None:
            return [self._read_source(image.ref)]
        try:
            if self._blob is None:
                self._blob = self._open_blob(self._chunk.blob)
            if self._memory is not None:
                self._memory.check("reading", self._blob.size_bytes(image.slot))
            return [*self._blob.parts(image.slot, image.parts)]
        except (ObjectNotFoundError, ValueError) as error:
            raise BlobLostError(self._chunk.blob) from error

    def release(self) -> None:
        """Stop counting the blob against the pixel budget."""
        self._budget.hold(self, 0)

    def _read_source(self, ref: str) -> bytes:
        prefetched = self._prefetched.pop(ref, None)
        data = prefetched.result() if prefetched else self._sources.read(ref)
        if ref in self._next_ref:
            self._prefetch_source(self._next_ref[ref])
        return data

    def _prefetch_source(self, ref: str) -> None:
        if self._prefetcher and self._budget.has_room(1):
            self._prefetched[ref] = self._prefetcher.submit(self._sources.read, ref)

    def _open_blob(self, key: str) -> Blob:
        is_tight = self._memory is not None and self._chunk.pixels * 3 > self._memory.available_bytes // 2
        if self._chunk.alone or is_tight:
            return Blob(partial(_read_range, self._store, key))
        prefetched = self._prefetched.pop(key, None)
        data = prefetched.result() if prefetched else self._store.get(key)
        self._budget.hold(self, len(data) // 3)
        return Blob.of(data)


def _read_range(store: Store, key: str, start: int, end: int) -> memoryview:
    data = bytearray()
    for piece in store.stream(key, start, end):
        data += piece
    return memoryview(data).toreadonly()
