"""Workloads of the benchmark, and folders of images for them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.common.model.errors import PenstockError
from penstock.local.sample_images import write_images

DISTINCT_IMAGES = 24
"""Images drawn for each size; a folder of more has several hard links to each."""
JPEG_QUALITY = 95
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class Workload:
    """Operations on images of one `size`, width and height."""

    name: str
    size: tuple[int, int]
    operations: tuple[tuple[str, Any], ...]
    output: str
    images: int
    """Default number of images: enough to make the start negligible."""
    decode: str = "exact"

    @property
    def title(self) -> str:
        """A description in one line."""
        named = " + ".join(name if value is True else f"{name} {value}" for name, value in self.operations)
        width, height = self.size
        shown = f"{width}²" if width == height else f"{width}×{height}"
        return f"{shown} {named} → {self.output}" + (", decoded scaled" if self.decode == "scaled" else "")

    def document(self) -> dict[str, Any]:
        """Return the job document, without its inputs."""
        document = {"operations": [list(operation) for operation in self.operations], "output": self.output}
        return document if self.decode == "exact" else document | {"decode": self.decode}

    def options(self) -> list[str]:
        """Return the operations as command-line options."""
        return [f"--op={name}" if value is True else f"--op={name}={value}" for name, value in self.operations]

    @property
    def has_same_pixels(self) -> bool:
        """Whether the results have the pool's pixels, not only their sizes."""
        return self.decode == "exact"


WORKLOADS = (
    Workload(
        "resize-split-gaussian-jpg",
        (512, 512),
        (("resize", "200x300"), ("split", True), ("blur", "gaussian")),
        "jpg",
        4_000,
    ),
    Workload("resize-median-jpg", (1024, 1024), (("resize", "512x512"), ("blur", "median")), "jpg", 1_600),
    Workload("split-gaussian-png", (1024, 1024), (("split", True), ("blur", "gaussian")), "png", 320),
    Workload("bilateral-jpg", (512, 512), (("blur", "bilateral"),), "jpg", 600),
    Workload("reduce-8mpx-jpg", (3264, 2448), (("resize", "512x384"),), "jpg", 200),
    Workload("reduce-8mpx-scaled-jpg", (3264, 2448), (("resize", "512x384"),), "jpg", 200, decode="scaled"),
)


def choose_workloads(wanted: Sequence[str]) -> list[Workload]:
    """Return the workloads of these names, or all without names.

    Raises:
        PenstockError: a name is unknown.
    """
    by_name = {workload.name: workload for workload in WORKLOADS}
    return [by_name[name] for name in choose("workload", list(by_name), wanted)]


def choose(what: str, known: Sequence[str], wanted: Sequence[str], always: Sequence[str] = ()) -> list[str]:
    """Return the known names that are wanted, or all if none are; those in `always` are included.

    Raises:
        PenstockError: a wanted name is unknown.
    """
    for name in wanted:
        if name not in known:
            raise PenstockError(f"unknown_{what}", f"no {what} {name!r}; accepted are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted or name in always]


class ImageFolders:
    """Folders of JPEGs of one size below `root`: sample images, or the images of the folder `photos` scaled to size."""

    def __init__(self, root: Path, photos: Path | None = None) -> None:
        self._root = root
        self._photos = photos
        self._distinct: dict[tuple[int, int], list[Path]] = {}

    def folder(self, workload: Workload, count: int) -> Path:
        """Return the folder of `count` images for a workload; the first call makes it.

        Raises:
            PenstockError: the folder `photos` contains no readable image.
        """
        folder = self._root / f"{workload.name}-{count}"
        if folder.exists():
            return folder
        distinct = self.distinct(workload.size)
        folder.mkdir()
        for index in range(count):
            os.link(distinct[index % len(distinct)], folder / f"image-{index:05d}.jpg")
        return folder

    def distinct(self, size: tuple[int, int]) -> list[Path]:
        """Return the distinct images of one size; the first call makes them."""
        if size not in self._distinct:
            folder = self._root / "{}x{}".format(*size)
            if self._photos is None:
                self._distinct[size] = write_images(folder, DISTINCT_IMAGES, *size)
            else:
                self._distinct[size] = _scale_images(self._photos, folder, size)
        return self._distinct[size]


def find_images(folder: Path) -> list[Path]:
    """Return the paths of JPEG and PNG files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _scale_images(photos: Path, folder: Path, size: tuple[int, int]) -> list[Path]:
    import cv2

    folder.mkdir()
    for path in find_images(photos):
        image = cv2.imread(str(path))
        if image is not None:
            scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{path.stem}.jpg"), scaled, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    found = sorted(folder.iterdir())
    if not found:
        raise PenstockError("no_photographs", f"no readable JPEG or PNG below {photos}")
    return found
