"""Verifier: compares results with those of the plain pool, JPEG files by bytes and PNG files by pixels."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from penstock.benchmark.bench.contestants import BenchError


class Verifier:
    """Compares results; remembers which PNG files have equal pixels, because a benchmark repeats its images."""

    def __init__(self) -> None:
        self._equal: set[tuple[bytes, bytes]] = set()

    def verify(self, contestant: str, reference: Path, results: Iterable[tuple[str, bytes]]) -> None:
        """Check that `results` (name, content) are exactly the files of the folder `reference`.

        Raises:
            BenchError: a file differs, is missing, or is not in the reference.
        """
        missing = {path.name for path in reference.iterdir()}
        for name, content in results:
            if name not in missing:
                raise BenchError("wrong_results", f"{contestant} made {name}, which the pool did not, or made it twice")
            missing.remove(name)
            if not self._are_equal((reference / name).read_bytes(), content, name):
                raise BenchError("wrong_results", f"{name} of {contestant} differs from the pool's")
        if missing:
            raise BenchError("wrong_results", f"{contestant} did not make {min(missing)} and {len(missing) - 1} others")

    def _are_equal(self, expected: bytes, content: bytes, name: str) -> bool:
        if expected == content:
            return True
        if not name.endswith(".png"):
            return False
        pair = (blake2b(expected).digest(), blake2b(content).digest())
        if pair not in self._equal and _have_equal_pixels(expected, content):
            self._equal.add(pair)
        return pair in self._equal


def _have_equal_pixels(first: bytes, second: bytes) -> bool:
    import cv2
    import numpy as np

    one, other = (cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) for file in (first, second))
    return one is not None and other is not None and np.array_equal(one, other)
