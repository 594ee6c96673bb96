"""ChunkInput: the same whether it was read ahead or not, and only as much ahead as the budget allows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.messages import Chunk, ImageRef
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.steps.image import Image
from penstock.worker.chunk_input import BlobLostError, ChunkInput, PixelBudget
from penstock.worker.executors.safetensors import pack_chunk
from penstock.worker.image_sources import ImageSources


class RecordingStore(LocalStore):
    """A store that records which keys are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []
        self.streamed_bytes = 0

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        for piece in super().stream(key, start, end):
            self.streamed_bytes += len(piece)
            yield piece

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)


class InputFixture:
    """A store with a budget of 1,000 pixels, and the inputs of chunks in it."""

    def __init__(self, root: Path, prefetcher: Executor) -> None:
        self.store = RecordingStore(root)
        self.budget = PixelBudget(1_000)
        self.prefetcher = prefetcher

    def open(self, chunk: Chunk, *, ahead: bool = True) -> ChunkInput:
        sources = ImageSources(self.store, Limits(), None)
        return ChunkInput(chunk, self.store, sources, self.budget, self.prefetcher if ahead else None)

    def chunk_of_sources(self, *contents: bytes) -> Chunk:
        for number, content in enumerate(contents):
            self.store.put(f"uploads/u/{number}", [content])
        images = [ImageRef(id=number, stem="x", ref=f"uploads/u/{number}") for number in range(len(contents))]
        return Chunk(job="j", chunk="c", plan=[], images=images)

    def chunk_with_blob(self, pixels: int = 400) -> Chunk:
        array = np.full((10, 20, 3), 7, np.uint8)
        self.store.put("work/b", pack_chunk({0: [Image(array)], 1: [Image(array + 1)]}))
        images = [ImageRef(id=number, stem="x", ref="", slot=number, parts=1) for number in range(2)]
        return Chunk(job="j", chunk="c", plan=[], images=images, blob="work/b", pixels=pixels)

    def wait_for_prefetch(self) -> None:
        """Wait until everything that is being read ahead has been read."""
        self.prefetcher.submit(lambda: None).result(30)


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[InputFixture]:
    with ThreadPoolExecutor(1) as prefetcher:
        yield InputFixture(tmp_path, prefetcher)


@pytest.mark.parametrize("ahead", [True, False])
def test_every_source_is_read_once(inputs: InputFixture, ahead: bool) -> None:
    chunk = inputs.chunk_of_sources(b"a", b"b", b"c")
    opened = inputs.open(chunk, ahead=ahead)
    opened.prefetch()
    assert [opened.read(image) for image in chunk.images] == [[b"a"], [b"b"], [b"c"]]
    assert inputs.store.read == ["uploads/u/0", "uploads/u/1", "uploads/u/2"]


def test_prefetch_reads_the_first_source_and_each_read_the_next_one(inputs: InputFixture) -> None:
    chunk = inputs.chunk_of_sources(b"a", b"b", b"c")
    opened = inputs.open(chunk)
    opened.prefetch()
    inputs.wait_for_prefetch()
    assert inputs.store.read == ["uploads/u/0"]
    opened.read(chunk.images[0])
    inputs.wait_for_prefetch()
    assert inputs.store.read == ["uploads/u/0", "uploads/u/1"]


def test_a_missing_source_is_reported_when_it_is_read(inputs: InputFixture) -> None:
    chunk = inputs.chunk_of_sources(b"a")
    inputs.store.delete("uploads/u/0")
    opened = inputs.open(chunk)
    opened.prefetch()
    with pytest.raises(ImageError) as caught:
        opened.read(chunk.images[0])
    assert caught.value.code == ImageCode.SOURCE_NOT_FOUND


@pytest.mark.parametrize("ahead", [True, False])
def test_a_blob_is_read_once_and_counts_against_the_budget_until_released(inputs: InputFixture, ahead: bool) -> None:
    chunk = inputs.chunk_with_blob()
    opened = inputs.open(chunk, ahead=ahead)
    opened.prefetch()
    assert inputs.budget.used == (400 if ahead else 0)
    assert [opened.read(image)[0].pixels[0, 0, 0] for image in chunk.images] == [7, 8]
    assert inputs.store.read == ["work/b"]
    assert 400 <= inputs.budget.used < 500, "its header counts as well"
    opened.release()
    assert inputs.budget.used == 0


@pytest.mark.parametrize(("pixels", "held"), [(0, 0), (400, 700)], ids=["unknown size", "no room"])
def test_a_blob_of_unknown_size_or_without_room_is_not_read_ahead(inputs: InputFixture, pixels: int, held: int) -> None:
    inputs.budget.hold("something else", held)
    chunk = inputs.chunk_with_blob(pixels)
    opened = inputs.open(chunk)
    opened.prefetch()
    inputs.wait_for_prefetch()
    assert inputs.store.read == []
    assert len(opened.read(chunk.images[0])) == 1


def test_of_a_blob_that_is_shared_with_a_suspect_image_only_the_own_part_is_read(inputs: InputFixture) -> None:
    chunk = inputs.chunk_with_blob()
    alone = chunk.model_copy(update={"alone": True, "images": chunk.images[1:]})
    own = inputs.open(alone).read(chunk.images[1])[0].pixels
    assert np.array_equal(own, np.full((10, 20, 3), 8, np.uint8))
    assert not own.flags.writeable
    assert inputs.store.read == []
    assert 600 <= inputs.store.streamed_bytes < 1_000


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("content", [None, b"torn", b"\xff" * 100])
def test_a_missing_or_damaged_blob_is_lost(inputs: InputFixture, content: bytes | None, alone: bool) -> None:
    chunk = inputs.chunk_with_blob().model_copy(update={"alone": alone})
    inputs.store.delete("work/b")
    if content is not None:
        inputs.store.put("work/b", [content])
    opened = inputs.open(chunk)
    opened.prefetch()
    with pytest.raises(BlobLostError):
        opened.read(chunk.images[0])


def test_each_holder_counts_with_its_last_report() -> None:
    budget = PixelBudget(100)
    budget.hold("a", 60)
    budget.hold("b", 30)
    budget.hold("a", 70)
    assert (budget.used, budget.is_exceeded, budget.has_room(1)) == (100, False, False)
    budget.hold("b", 31)
    assert budget.is_exceeded
    budget.hold("a", 0)
    assert (budget.used, budget.has_room(69)) == (31, True)
