"""What a run asks for: a few jobs of different kinds, and what has to become of each of their images.

What has to become of an image is what `penstock run` makes of it, on one host with the same plan, and for one that is
cancelled whatever of that was done before.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from penstock.local.sample_images import write_images

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
SIZE = (64, 48)
RAISES = (0, 255, 0)
CRASHES = (0, 0, 255)
RUN_SECS = 120

Way = Literal["upload", "prefix"]
Then = Literal["", "cancel", "retry", "delete"]


@dataclass(frozen=True)
class Task:
    """One job to ask for. `keyed`: with an Idempotency-Key, so that it is sent again until it is acknowledged."""

    name: str
    operations: Sequence[Any]
    files: Sequence[Path]
    output: str = "jpg"
    way: Way = "upload"
    chunk_size: int | str = "auto"
    keyed: bool = True
    then: Then = ""

    @property
    def document(self) -> dict[str, Any]:
        """The job document, without its inputs."""
        return {
            "name": self.name,
            "operations": self.operations,
            "output": self.output,
            "chunk_size": self.chunk_size,
        }


@dataclass(frozen=True)
class Wanted:
    """What has to become of a job's images: SHA-256 of each result by its name, and the code of those that fail."""

    results: Mapping[str, Mapping[str, str]]
    codes: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> set[str]:
        """The names of all images."""
        return {*self.results, *self.codes}


def draw(folder: Path, good: int) -> list[Path]:
    """Write `good` small JPEGs, and one of each kind that cannot be processed."""
    folder.mkdir(parents=True)
    photos = write_images(folder, good, *SIZE)
    whole = photos[0].read_bytes()
    bad = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "broken.png": _break_png(folder)}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    return [*photos, *(folder / name for name in bad)]


def draw_plain(folder: Path, name: str, colour: tuple[int, int, int]) -> Path:
    """Write a picture of one colour, over which the tests' step `trip` may trip."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((SIZE[1], SIZE[0], 3), colour, np.uint8))
    return folder / name


def make_tasks(folder: Path) -> list[Task]:
    """Draw the pictures; return the jobs of an ordinary run."""
    folder.mkdir(parents=True, exist_ok=True)
    main = [["resize", "40x30"], ["split", True], ["blur", "median"]]
    slow = [["resize", "40x30"], ["pause", 0.1], ["blur", "gaussian"]]
    mixed, below = draw(folder / "mixed", 5), draw(folder / "below", 6)
    fine = write_images(folder / "fine", 4, *SIZE)
    tripping = [*write_images(folder / "trip", 2, *SIZE), draw_plain(folder / "trip", "raises.png", RAISES)]
    return [
        Task("sent", main, mixed),
        Task("ones", slow, fine[:4], output="png", chunk_size=1, then="cancel"),
        Task("found", main, below, way="prefix", chunk_size=8),
        Task("tripping", [["resize", "64x48"], ["trip"]], tripping, output="png", then="retry"),
        Task("long", _long_plan(), fine[:1], chunk_size=1),
        Task("unkeyed", [["blur", "gaussian"]], fine[:2], keyed=False),
        Task("gone", [["split", True]], fine[:3], then="delete"),
    ]


def make_batches(folder: Path) -> list[Task]:
    """Draw the pictures; return jobs that take a while, for something to happen meanwhile."""
    main = [["resize", "40x30"], ["split", True], ["blur", "median"]]
    slow = [["resize", "40x30"], ["pause", 0.1], ["split", True], ["blur", "gaussian"]]
    mixed, below = draw(folder / "mixed", 20), draw(folder / "below", 40)
    return [
        Task("many", main, mixed),
        Task("slow", slow, below, output="png", way="prefix"),
        Task("alone", slow, mixed[:15], chunk_size=1),
        Task("eight", main, below, way="prefix", chunk_size=8),
    ]


def make_poison(folder: Path) -> list[Task]:
    """Draw a job one of whose pictures kills the worker that touches it."""
    pictures = [*write_images(folder / "poison", 3, *SIZE), draw_plain(folder / "poison", "crash.png", CRASHES)]
    return [Task("poison", [["resize", "64x48"], ["trip"]], pictures, output="png", chunk_size=8)]


MAKERS = {"points": make_tasks, "batch": make_batches, "poison": make_poison}
"""What makes the jobs of each kind of run."""


def want(task: Task, folder: Path) -> Wanted:
    """Return what `penstock run` makes of a task's images; the poison is not run here."""
    files = [path for path in task.files if path.name != "crash.png"]
    job, out = folder / f"{task.name}.json", folder / f"{task.name}-out"
    job.write_text(json.dumps({"operations": task.operations, "output": task.output}))
    command = [sys.executable, "-m", "penstock", "run", *map(str, files), "--job", str(job), "--out", str(out)]
    ran = subprocess.run(
        [*command, "--json", "--parallel", "1"], env=environment(), capture_output=True, timeout=RUN_SECS, check=False
    )
    assert ran.returncode in (0, 1), ran.stderr
    codes, results = _read_out(out)
    if len(files) < len(task.files):
        codes["crash.png"] = "step_crashed"
    assert {*codes, *results} == {path.name for path in task.files}, (codes, results)
    return Wanted(results, codes)


def environment() -> dict[str, str]:
    """The environment of a process that finds the tests' own steps."""
    path = os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _read_out(out: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    codes: dict[str, str] = {}
    results: dict[str, dict[str, str]] = {}
    for line in (out / "manifest.ndjson").read_text().splitlines()[1:]:  # the first tells the plan
        entry = json.loads(line)
        if entry.get("error"):
            codes[Path(entry["image"]).name] = entry["error"]["code"]
        else:
            names = [result["name"] for result in entry["results"]]
            results[Path(entry["image"]).name] = {name: sha256(out / name) for name in names}
    return codes, results


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _break_png(folder: Path) -> bytes:
    """Return a PNG one byte of whose pixels is another one, so that its checksum tells."""
    data = bytearray(cv2.imencode(".png", np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE[1], SIZE[0]))[1])
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _long_plan() -> list[Any]:
    """Return a plan that is too long for a message, and takes long enough to be shown as running."""
    return [["pause", 0.5], *([["pause", 1.234567890123456e-05]] * 30)]
