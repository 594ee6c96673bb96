"""How a chunk is divided: into single images, or into those that go on and those that don't."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from penstock.common.model.messages import Chunk, ImageRef


def singles(chunk: Chunk, images: Sequence[ImageRef], *, attempt: int) -> list[bytes]:
    """Return one message for each of a chunk's images, all of them reading the chunk's blob."""
    return [
        chunk.model_copy(
            update={
                "chunk": f"{_base(chunk.chunk)}.{image.id}",
                "images": [_as_it_came(image, chunk.step)],
                "alone": True,
                "attempt": attempt,
                "enqueued_at": time.time(),
            }
        )
        .model_dump_json()
        .encode()
        for image in images
    ]


def _as_it_came(image: ImageRef, step: int) -> ImageRef:
    """Return an image without the times of steps that it will go through again."""
    return image.model_copy(update={"timings": [timing for timing in image.timings if timing.step < step]})


def part_name(chunk: str, images: Sequence[ImageRef]) -> str:
    """Return a name for some images of a chunk that follows from which ones they are."""
    ids = ",".join(str(image.id) for image in images)
    return f"{_base(chunk)}.{images[0].id}-{hashlib.blake2b(ids.encode(), digest_size=6).hexdigest()}"


def _base(name: str) -> str:
    """Return the name a chunk was dispatched under, without what later divisions added."""
    return name.partition(".")[0]
