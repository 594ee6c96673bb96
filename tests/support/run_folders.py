"""Input images and results folders of `penstock run`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

Run = Callable[..., subprocess.CompletedProcess[str]]
DEPTH = 1_200
"""More than the recursion limit."""


def draw(path: Path, value: int = 90, width: int = 32, height: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), value, np.uint8)
    image[: height // 2, :, 1] = np.arange(width, dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def names(folder: Path) -> set[str]:
    """Return the results below a folder, without intermediates; safe while a run adds results."""
    found = set()
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {
            os.path.relpath(os.path.join(parent, name), folder) for name in files if name[-4:] in (".jpg", ".png")
        }
    return found


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - names(folder) - {"manifest.ndjson"}


def codes(folder: Path) -> dict[str, str]:
    """Return the error code of each failed image from the manifest."""
    lines = [json.loads(line) for line in (folder / "manifest.ndjson").read_text().splitlines()]
    return {line["image"]: line["error"]["code"] for line in lines if "error" in line}


def written(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in names(folder)}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


@contextmanager
def deep_folder(root: Path) -> Iterator[Path]:
    """Make `d/d/d/…` below a folder, and yield the deepest. All of it is removed: pytest's own cleanup is recursive."""
    folders = [root / "/".join("d" * depth) for depth in range(1, DEPTH + 1)]
    try:
        for folder in folders:
            folder.mkdir()
        yield folders[-1]
    finally:
        subprocess.run(["rm", "-rf", folders[0]], check=True)
