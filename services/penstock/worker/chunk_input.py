"""What a chunk is made from, its blob or its images' sources: read when needed, or ahead on another thread.

Reading ahead is for stores that answer after milliseconds: the first source or the blob of the next chunk is read
while this one is worked on, and so is each image's source while the one before it is.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future

from penstock.common.model.messages import Chunk, ImageRef
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.worker.executors.safetensors import Blob, Picture
from penstock.worker.image_sources import Sources
from penstock.worker.pixel_budget import PixelBudget


class BlobLostError(Exception):
    """The chunk's intermediates are gone; its images must start from their sources again."""


class ChunkInput:
    """One chunk's input. `reader` is what reads ahead; None: nothing is.

    A blob counts among the `held` pixels until `release`; it is read ahead only where it has room within `max_pixels`.
    """

    def __init__(
        self, chunk: Chunk, store: Store, sources: Sources, held: PixelBudget, max_pixels: int, reader: Executor | None
    ) -> None:
        self._chunk = chunk
        self._store = store
        self._sources = sources
        self._held = held
        self._max_pixels = max_pixels
        self._reader = reader
        self._following = {image.ref: after.ref for image, after in zip(chunk.images, chunk.images[1:], strict=False)}
        self._ahead: dict[str, Future[bytes]] = {}
        self._blob: Blob | None = None
        self._blob_pixels = 0

    def begin(self) -> None:
        """Begin to read what the chunk's work begins with."""
        if self._chunk.blob is None:
            self._begin_source(self._chunk.images[0].ref)
        elif self._reader and self._chunk.pixels and self._held.pixels + self._chunk.pixels <= self._max_pixels:
            self._count(self._chunk.pixels)
            self._ahead[self._chunk.blob] = self._reader.submit(self._store.get, self._chunk.blob)

    def read_source(self, image: ImageRef) -> bytes:
        """Return an image's file.

        Raises:
            ImageError: source_not_found, source_forbidden or too_large_file.
            UnavailableError: the store is away.
        """
        ahead = self._ahead.pop(image.ref, None)
        data = ahead.result() if ahead else self._sources.read(image.ref)
        following = self._following.get(image.ref)
        if following is not None:
            self._begin_source(following)
        return data

    def read_parts(self, image: ImageRef) -> list[Picture]:
        """Return an image's pictures from the blob, as read-only views.

        Raises:
            BlobLostError: they are not there.
            UnavailableError: the store is away.
        """
        assert self._chunk.blob is not None
        try:
            if self._blob is None:
                self._blob = self._read_blob(self._chunk.blob)
            return self._blob.parts(image.slot, image.parts)
        except (ObjectNotFoundError, ValueError) as error:
            raise BlobLostError(self._chunk.blob) from error

    def release(self) -> None:
        """Count what was read as held no more."""
        self._count(0)

    def _begin_source(self, ref: str) -> None:
        if self._reader and self._held.pixels < self._max_pixels:
            self._ahead[ref] = self._reader.submit(self._sources.read, ref)

    def _read_blob(self, key: str) -> Blob:
        ahead = self._ahead.pop(key, None)
        data = ahead.result() if ahead else self._store.get(key)
        self._count(len(data) // 3)
        return Blob(data)

    def _count(self, pixels: int) -> None:
        self._held.add(pixels - self._blob_pixels)
        self._blob_pixels = pixels
