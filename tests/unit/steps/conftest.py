"""Images drawn for the step tests, and PNG files built byte by byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from penstock.steps.allocator import limit_threads

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (64, 48), (65, 47), (48, 65), (33, 100)]
"""Width and height: from one pixel up, odd and even, portrait and landscape."""


@pytest.fixture(autouse=True, scope="session")
def quiet_opencv() -> None:
    limit_threads()


def draw(width: int, height: int) -> np.ndarray:
    """Draw gradients, shapes and a little noise: edges, flat areas and texture in one image."""
    random = np.random.default_rng(width * 10_007 + height)
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, (x + y) * 4 % 256], axis=2).astype(np.uint8)
    cv2.circle(image, (width // 2, height // 2), min(width, height) // 3, (20, 200, 90), -1, cv2.LINE_AA)
    cv2.rectangle(image, (0, 0), (width // 3, height // 4), (250, 240, 230), -1)
    return cv2.add(image, random.integers(0, 12, image.shape, np.uint8))


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def image(request: pytest.FixtureRequest) -> np.ndarray:
    """A drawn image of each size."""
    return draw(*request.param)


@pytest.fixture
def drawing() -> np.ndarray:
    """A drawn image of 96×72 pixels."""
    return draw(96, 72)


@pytest.fixture(scope="session")
def photos(photographs: Path) -> list[np.ndarray]:
    """Five photographs, decoded by OpenCV."""
    names = ["street/lund-01.jpg", "street/lund-10.jpg", "street/lund-18.jpg", "kodak/20.png", "kodak/13.png"]
    return [cv2.imread(str(photographs / name)) for name in names]


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Build a PNG chunk, with its own checksum or the given one."""
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class PngFile:
    """A PNG file of random pixels, which `build` can make invalid."""

    def __init__(self, width: int, height: int, depth: int = 8, colour: int = 2, interlaced: bool = False) -> None:
        random = np.random.default_rng(7)
        bits = CHANNELS[colour] * depth
        passes = [(-(-(width - left) // across), -(-(height - top) // down)) for left, top, across, down in ADAM7]
        self.rows = b"".join(
            bytes([row % 5]) + random.bytes((columns * bits + 7) // 8)
            for columns, lines in (passes if interlaced else [(width, height)])
            if columns > 0
            for row in range(lines)
        )
        self.header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
        self.palette = chunk(b"PLTE", random.bytes(3 * 2**depth)) if colour == 3 else b""

    def build(
        self,
        pixels: bytes | None = None,
        before: Sequence[bytes] = (),
        after: Sequence[bytes] = (),
        end: bytes | None = None,
    ) -> bytes:
        stream = zlib.compress(self.rows) if pixels is None else pixels
        end = chunk(b"IEND", b"") if end is None else end
        middle = (self.palette, *before, chunk(b"IDAT", stream), *after, end)
        return b"".join((b"\x89PNG\r\n\x1a\n", self.header, *middle))


@pytest.fixture(scope="session")
def png_file() -> type[PngFile]:
    return PngFile


@pytest.fixture(scope="session")
def png_chunk() -> Callable[..., bytes]:
    return chunk


@pytest.fixture
def seeded() -> np.random.Generator:
    """Random numbers, the same in each run."""
    return np.random.default_rng(20)
