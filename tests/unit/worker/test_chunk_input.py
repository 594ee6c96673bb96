"""A chunk's input: the same whether it was read ahead or not, and never more of it than there is room for."""

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
from penstock.worker.chunk_input import BlobLostError, ChunkInput
from penstock.worker.executors.safetensors import pack
from penstock.worker.image_sources import Sources
from penstock.worker.pixel_budget import PixelBudget


class Counting(LocalStore):
    """A store that notes which keys are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)


class Desk:
    """A store, and readings from it."""

    def __init__(self, root: Path, reader: Executor) -> None:
        self.store = Counting(root)
        self.held = PixelBudget()
        self.reader = reader

    def reading(self, chunk: Chunk, max_pixels: int = 10**6, *, ahead: bool = True) -> ChunkInput:
        sources = Sources(self.store, Limits(), None)
        return ChunkInput(chunk, self.store, sources, self.held, max_pixels, self.reader if ahead else None)

    def sources(self, *contents: bytes) -> Chunk:
        for number, content in enumerate(contents):
            self.store.put(f"uploads/u/{number}", [content])
        images = [ImageRef(id=number, stem="x", ref=f"uploads/u/{number}") for number in range(len(contents))]
        return Chunk(job="j", chunk="c", plan=[], images=images)

    def blob(self, pixels: int | None = None) -> Chunk:
        picture = np.full((10, 20, 3), 7, np.uint8)
        self.store.put("work/b", pack({0: [picture], 1: [picture + 1]}))
        images = [ImageRef(id=number, stem="x", ref="", slot=number, parts=1) for number in range(2)]
        return Chunk(
            job="j", chunk="c", plan=[], images=images, blob="work/b", pixels=400 if pixels is None else pixels
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ThreadPoolExecutor(1) as reader:
        yield Desk(tmp_path, reader)


def settle(desk: Desk) -> None:
    """Wait until whatever is being read ahead has been."""
    desk.reader.submit(lambda: None).result(30)


@pytest.mark.parametrize("ahead", [True, False])
def test_sources_come_in_any_case_and_each_is_read_once(desk: Desk, ahead: bool) -> None:
    chunk = desk.sources(b"a", b"b", b"c")
    reading = desk.reading(chunk, ahead=ahead)
    reading.begin()
    assert [reading.read_source(image) for image in chunk.images] == [b"a", b"b", b"c"]
    assert desk.store.read == ["uploads/u/0", "uploads/u/1", "uploads/u/2"]


def test_the_first_source_is_read_when_told_and_the_next_one_with_it(desk: Desk) -> None:
    chunk = desk.sources(b"a", b"b", b"c")
    reading = desk.reading(chunk)
    reading.begin()
    settle(desk)
    assert desk.store.read == ["uploads/u/0"]
    reading.read_source(chunk.images[0])
    settle(desk)
    assert desk.store.read == ["uploads/u/0", "uploads/u/1"]


def test_a_source_that_is_gone_is_told_when_its_turn_comes(desk: Desk) -> None:
    chunk = desk.sources(b"a")
    desk.store.delete("uploads/u/0")
    reading = desk.reading(chunk)
    reading.begin()
    with pytest.raises(ImageError) as caught:
        reading.read_source(chunk.images[0])
    assert caught.value.code == ImageCode.SOURCE_NOT_FOUND


@pytest.mark.parametrize("ahead", [True, False])
def test_a_blob_is_read_once_and_counts_until_it_is_released(desk: Desk, ahead: bool) -> None:
    chunk = desk.blob()
    reading = desk.reading(chunk, ahead=ahead)
    reading.begin()
    assert desk.held.pixels == (400 if ahead else 0)
    assert [reading.read_parts(image)[0][0, 0, 0] for image in chunk.images] == [7, 8]
    assert desk.store.read == ["work/b"]
    assert 400 <= desk.held.pixels < 500, "its header counts as well"
    reading.release()
    assert desk.held.pixels == 0


@pytest.mark.parametrize(("pixels", "held"), [(0, 0), (400, 700)], ids=["not told", "no room"])
def test_a_blob_without_a_size_or_without_room_is_read_when_its_turn_comes(desk: Desk, pixels: int, held: int) -> None:
    desk.held.add(held)
    chunk = desk.blob(pixels)
    reading = desk.reading(chunk, max_pixels=1_000)
    reading.begin()
    settle(desk)
    assert desk.store.read == []
    assert len(reading.read_parts(chunk.images[0])) == 1


@pytest.mark.parametrize("content", [None, b"torn"])
def test_a_blob_that_is_gone_or_torn_is_lost(desk: Desk, content: bytes | None) -> None:
    chunk = desk.blob()
    desk.store.delete("work/b")
    if content is not None:
        desk.store.put("work/b", [content])
    reading = desk.reading(chunk)
    reading.begin()
    with pytest.raises(BlobLostError):
        reading.read_parts(chunk.images[0])
