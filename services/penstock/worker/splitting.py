"""Splitting: messages for some of a chunk's images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from penstock.common.model.messages import Chunk, ImageRef


def split_into_images(chunk: Chunk, images: Sequence[ImageRef], *, attempt: int) -> list[bytes]:
    """Return one message for each of a chunk's images; they share the chunk's blob."""
    return [
        chunk.model_copy(
            update={
                "chunk": f"{_dispatched_name(chunk.chunk)}.{image.id}",
                "images": [_without_timings_from(image, chunk.step)],
                "alone": True,
                "attempt": attempt,
                "enqueued_at": time.time(),
            }
        )
        .model_dump_json()
        .encode()
        for image in images
    ]


def name_subset(chunk: str, images: Sequence[ImageRef]) -> str:
    """Return a name for some of a chunk's images; the same images always get the same name."""
    ids = ",".join(str(image.id) for image in images)
    return f"{_dispatched_name(chunk)}.{images[0].id}-{hashlib.blake2b(ids.encode(), digest_size=6).hexdigest()}"


def _without_timings_from(image: ImageRef, step: int) -> ImageRef:
    """Return an image without the times of steps that will run again."""
    return image.model_copy(update={"timings": [timing for timing in image.timings if timing.step < step]})


def _dispatched_name(name: str) -> str:
    """Return the name that the dispatcher gave a chunk, before it was split."""
    return name.partition(".")[0]
