"""What the benchmark puts every contestant through: four workloads, and folders of pictures for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.common.model.errors import PenstockError

DISTINCT_PICTURES = 24
"""Pictures drawn for each size; a folder of more holds further names (hard links) of the same ones."""
JPEG_QUALITY = 95
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class Workload:
    """Square pictures of `side` pixels, and what is to become of them."""

    name: str
    side: int
    operations: tuple[tuple[str, Any], ...]
    output: str
    images: int
    """How many are enough that starting up hardly counts, unless told otherwise."""

    @property
    def title(self) -> str:
        """What it does, in one line."""
        named = " + ".join(name if value is True else f"{name} {value}" for name, value in self.operations)
        return f"{self.side}² {named} → {self.output}"

    def document(self) -> dict[str, Any]:
        """Return the job document, without its inputs."""
        return {"operations": [list(operation) for operation in self.operations], "output": self.output}

    def options(self) -> list[str]:
        """Return the operations as options of a command."""
        return [f"--op={name}" if value is True else f"--op={name}={value}" for name, value in self.operations]


WORKLOADS = (
    Workload(
        "resize-split-gaussian-jpg", 512, (("resize", "200x300"), ("split", True), ("blur", "gaussian")), "jpg", 4_000
    ),
    Workload("resize-median-jpg", 1024, (("resize", "512x512"), ("blur", "median")), "jpg", 1_600),
    Workload("split-gaussian-png", 1024, (("split", True), ("blur", "gaussian")), "png", 320),
    Workload("bilateral-jpg", 512, (("blur", "bilateral"),), "jpg", 600),
)


def choose_workloads(wanted: Sequence[str]) -> list[Workload]:
    """Return the workloads of these names, or all where none is named.

    Raises:
        PenstockError: there is no such workload.
    """
    by_name = {workload.name: workload for workload in WORKLOADS}
    return [by_name[name] for name in choose("workload", list(by_name), wanted)]


def choose(what: str, known: Sequence[str], wanted: Sequence[str], always: Sequence[str] = ()) -> list[str]:
    """Return what was wanted of what is known, all of it where nothing was, and `always` besides.

    Raises:
        PenstockError: something wanted is not known.
    """
    for name in wanted:
        if name not in known:
            raise PenstockError(f"unknown_{what}", f"no {what} {name!r}; accepted are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted or name in always]


class Pictures:
    """Folders of square JPEGs below `root`: drawn ones, or the photographs of a folder scaled to size."""

    def __init__(self, root: Path, photos: Path | None = None) -> None:
        self._root = root
        self._photos = photos
        self._distinct: dict[int, list[Path]] = {}

    def folder(self, workload: Workload, count: int) -> Path:
        """Return the folder of `count` pictures for a workload, made at the first call.

        Raises:
            PenstockError: there is no readable photograph in the folder that was given.
        """
        folder = self._root / f"{workload.name}-{count}"
        if folder.exists():
            return folder
        distinct = self.distinct(workload.side)
        folder.mkdir()
        for index in range(count):
            os.link(distinct[index % len(distinct)], folder / f"picture-{index:05d}.jpg")
        return folder

    def distinct(self, side: int) -> list[Path]:
        """Return the different pictures of one size, made at the first call."""
        if side not in self._distinct:
            folder = self._root / f"side-{side}"
            self._distinct[side] = self._draw(folder, side) if self._photos is None else self._scale(folder, side)
        return self._distinct[side]

    def _draw(self, folder: Path, side: int) -> list[Path]:
        from penstock.local.sample_images import write_images

        return write_images(folder, DISTINCT_PICTURES, side, side)

    def _scale(self, folder: Path, side: int) -> list[Path]:
        import cv2

        folder.mkdir()
        for source in self._sources():
            photo = cv2.imread(str(source))
            if photo is not None:
                square = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
                cv2.imwrite(str(folder / f"{source.stem}.jpg"), square, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        scaled = sorted(folder.iterdir())
        if not scaled:
            raise PenstockError("no_photographs", f"no readable JPEG or PNG below {self._photos}")
        return scaled

    def _sources(self) -> Sequence[Path]:
        assert self._photos is not None
        return sorted(path for path in self._photos.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
