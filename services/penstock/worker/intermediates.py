"""Intermediates: the pixels of images that go on in other workers, and the messages about them."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from penstock.common.model.messages import Chunk, ImageRef
from penstock.common.model.plan import Layout
from penstock.common.store.base import Store
from penstock.common.store.keys import work_key
from penstock.steps.image import Image
from penstock.worker.executors.safetensors import pack_chunk


@dataclass
class Ready:
    """Parts that wait for the operation at index `step`, and the images that are made of them.

    These are several outputs of one source, if no worker was there for any of them; then `step` is the plan's fork.
    """

    step: int
    images: list[ImageRef]
    parts: list[Image]
    made_of: object = None
    """What the parts were in the worker, the same object for all outputs of one source."""

    @cached_property
    def pixels(self) -> int:
        """The number of pixels; those of 16 bits count twice."""
        return sum(part.pixels.nbytes for part in self.parts) // 3


def store(store: Store, chunk: Chunk, step: int, ready: Sequence[Ready]) -> str:
    """Store the parts that wait for operation `step`, under a key that depends only on their images; return it.

    Raises:
        UnavailableError: the store is unreachable.
    """
    name = name_images(chunk, [image for each in ready for image in each.images])
    blob = work_key(chunk.job, f"{chunk.run}-{name}", step)
    store.put(blob, pack_chunk({slot: each.parts for slot, each in enumerate(ready)}))
    return blob


def following_chunks(
    chunk: Chunk, ready: Sequence[Ready], blob: str, layout: Layout, traceparent: str | None
) -> Iterator[Chunk]:
    """Yield the chunks that go on with what was stored as `blob`."""
    by_step = split_by_step(ready, layout)
    for step, images in by_step.items():
        changes: dict[str, Any] = {
            "chunk": name_images(chunk, images),
            "step": step,
            "images": images,
            "blob": blob,
            "readers": [*by_step] if len(by_step) > 1 else [],
            "pixels": sum(each.pixels for each in ready),
            "alone": False,
            "attempt": 1,
            "enqueued_at": time.time(),
            "traceparent": traceparent,
        }
        yield chunk.model_copy(update=changes)


def split_by_step(ready: Sequence[Ready], layout: Layout) -> dict[int, list[ImageRef]]:
    """Return the images by the index of their next operation, each with its parts' place in a stored intermediate.

    `ready` are all for the same step: what is at the fork goes on in as many ways as there are outputs.
    """
    found: dict[int, list[ImageRef]] = {}
    for slot, each in enumerate(ready):
        for image in each.images:
            branch = layout.branch(image.id) if each.step == layout.fork else None
            placed = image.model_copy(update={"slot": slot, "parts": len(each.parts)})
            found.setdefault(branch.start if branch else each.step, []).append(placed)
    return found


def delete_read(store: Store, chunk: Chunk) -> None:
    """Delete a chunk's intermediate, unless other messages have yet to read it.

    Raises:
        UnavailableError: the store is unreachable.
    """
    assert chunk.blob is not None
    markers = [f"{chunk.blob}.{step}" for step in chunk.readers]
    if markers:
        store.put(f"{chunk.blob}.{chunk.step}", [b""])
        if any(store.size(marker) is None for marker in markers):
            return
    store.delete(chunk.blob, *markers)


def select(chunk: Chunk, images: Sequence[ImageRef], *, alone: bool) -> Chunk:
    """Return a chunk of some of a chunk's images, without the times of steps that will run again.

    Unless `alone` is set, no attempt is counted for them: no worker has died.
    """
    changes: dict[str, Any] = {
        "chunk": name_images(chunk, images),
        "images": [without_times(image, chunk.step) for image in images],
        "alone": chunk.alone or alone,
        "enqueued_at": time.time(),
    }
    return chunk.model_copy(update=changes)


def split_into_images(chunk: Chunk, images: Iterable[ImageRef], attempt: int) -> list[bytes]:
    """Return one message for each of a chunk's images, without the times of steps that will run again."""
    each: dict[str, Any] = {"alone": True, "attempt": attempt, "enqueued_at": time.time()}
    messages = []
    for image in images:
        each["images"] = [without_times(image, chunk.step)]
        each["chunk"] = f"{_dispatched_name(chunk.chunk)}.{image.id}"
        messages.append(chunk.model_copy(update=each).model_dump_json().encode())
    return messages


def from_sources(chunk: Chunk, images: Iterable[ImageRef], step: int) -> list[bytes]:
    """Return one message for each of a chunk's images, to start at operation `step` without intermediates."""
    sources = [image.model_copy(update={"parts": 0, "slot": 0}) for image in images]
    start = chunk.model_copy(update={"step": step, "blob": None, "readers": [], "restarted": True})
    return split_into_images(start, sources, chunk.attempt)


def without_times(image: ImageRef, step: int) -> ImageRef:
    """Return an image without the times of operations from index `step` on."""
    return image.model_copy(update={"timings": [timing for timing in image.timings if timing.step < step]})


def name_images(chunk: Chunk, images: Sequence[ImageRef]) -> str:
    """Return a name for some or all of a chunk's images; the same images always get the same name."""
    if len(images) == len(chunk.images):
        return chunk.chunk
    ids = ",".join(str(image.id) for image in images)
    digest = hashlib.blake2b(ids.encode(), digest_size=6).hexdigest()
    return f"{_dispatched_name(chunk.chunk)}.{images[0].id}-{digest}"


def _dispatched_name(name: str) -> str:
    """Return the name that the dispatcher gave a chunk, before it was split."""
    return name.partition(".")[0]
