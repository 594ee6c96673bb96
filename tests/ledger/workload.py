"""Workload: a few jobs of different kinds, with the expected outcome of each image.

The expected results are those of `penstock run` with the same plan; of a cancelled job, any subset of them.
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

GATHER = ["gather", "folder:contact-sheet"]

Way = Literal["upload", "prefix"]
Then = Literal["", "cancel", "retry", "delete"]


@dataclass(frozen=True)
class JobSpec:
    """A job to submit. `idempotent`: with an Idempotency-Key, so it is sent again until it is acknowledged."""

    name: str
    operations: Sequence[Any]
    files: Sequence[Path]
    output: str = "jpg"
    way: Way = "upload"
    chunk_size: int | str = "auto"
    idempotent: bool = True
    then: Then = ""
    outputs: Sequence[Any] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The job document, without its inputs."""
        return {
            "name": self.name,
            "operations": self.operations,
            "output": self.output,
            "chunk_size": self.chunk_size,
            **({"outputs": self.outputs} if self.outputs else {}),
        }

    @property
    def images(self) -> set[str]:
        """The names of all images: of each output of each file, if there are several, and of the group, if there is."""
        names = {path.name for path in self.files}
        groups = {"contact-sheet"} if self.operations[-1:] == [GATHER] else set()
        return {f"{output['name']}/{name}" for output in self.outputs for name in names} or names | groups


@dataclass(frozen=True)
class Expected:
    """The expected outcome of a job's images: SHA-256 of each result by name, and codes of those that fail."""

    results: Mapping[str, Mapping[str, str]]
    codes: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> set[str]:
        """The names of all images."""
        return {*self.results, *self.codes}


OUTPUTS = [
    {"name": "small", "operations": [["resize", "20x15"]], "output": "webp"},
    {"name": "quarters", "operations": [["split", True], ["blur", "median"]], "output": "png"},
    {"name": "tripping", "operations": [["trip"]]},
    {"name": "whole"},
]
"""Outputs of which one fails for some images. In a mixed placement, one worker reads two from one intermediate."""


def write_inputs(folder: Path, good: int) -> list[Path]:
    """Write `good` small JPEGs, and one file of each kind that cannot be processed."""
    folder.mkdir(parents=True)
    images = write_images(folder, good, *SIZE)
    whole = images[0].read_bytes()
    bad = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "broken.png": _break_png(folder)}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    return [*images, *(folder / name for name in bad)]


def write_plain_image(folder: Path, name: str, colour: tuple[int, int, int]) -> Path:
    """Write an image of one colour; the tests' step `trip` fails on some colours."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.full((SIZE[1], SIZE[0], 3), colour, np.uint8))
    return folder / name


def make_jobs(folder: Path) -> list[JobSpec]:
    """Write the images and return the jobs of a usual run."""
    folder.mkdir(parents=True, exist_ok=True)
    main = [["resize", "40x30"], ["split", True], ["blur", "median"]]
    slow = [["resize", "40x30"], ["pause", 0.1], ["blur", "gaussian"]]
    mixed, below = write_inputs(folder / "mixed", 5), write_inputs(folder / "below", 6)
    fine = write_images(folder / "fine", 4, *SIZE)
    tripping = [*write_images(folder / "trip", 2, *SIZE), write_plain_image(folder / "trip", "raises.png", RAISES)]
    return [
        JobSpec("sent", main, mixed),
        JobSpec("ones", slow, fine[:4], output="png", chunk_size=1, then="cancel"),
        JobSpec("found", main, below, way="prefix", chunk_size=8),
        JobSpec("tripping", [["resize", "64x48"], ["trip"]], tripping, output="png", then="retry"),
        JobSpec("long", _long_plan(), fine[:1], chunk_size=1),
        JobSpec("unkeyed", [["blur", "gaussian"]], fine[:2], idempotent=False),
        JobSpec("gone", [["split", True]], fine[:3], then="delete"),
        JobSpec("several", [["resize", "64x48"]], tripping, then="retry", outputs=OUTPUTS),
        JobSpec("sheet", [["resize", "64x48"], ["trip"], GATHER], tripping, output="png", then="retry"),
    ]


def make_batches(folder: Path) -> list[JobSpec]:
    """Write the images and return jobs that take long enough for a fault to happen."""
    main = [["resize", "40x30"], ["split", True], ["blur", "median"]]
    slow = [["resize", "40x30"], ["pause", 0.1], ["split", True], ["blur", "gaussian"]]
    mixed, below = write_inputs(folder / "mixed", 20), write_inputs(folder / "below", 40)
    return [
        JobSpec("many", main, mixed),
        JobSpec("slow", slow, below, output="png", way="prefix"),
        JobSpec("alone", slow, mixed[:15], chunk_size=1),
        JobSpec("eight", main, below, way="prefix", chunk_size=8),
        JobSpec("outputs", [["resize", "64x48"]], mixed, chunk_size=8, outputs=OUTPUTS),
        JobSpec("sheets", [["resize", "40x30"], GATHER], mixed),
    ]


def make_poison(folder: Path) -> list[JobSpec]:
    """Return a job with an image that kills its worker."""
    images = [
        *write_images(folder / "poison", 3, *SIZE),
        write_plain_image(folder / "poison", "injection.png", CRASHES),
    ]
    return [JobSpec("poison", [["resize", "64x48"], ["trip"]], images, output="png", chunk_size=8)]


def make_memory(folder: Path) -> list[JobSpec]:
    """Return a job of nine images and one on which its step is killed, as by the kernel when out of memory.

    The step gets intermediates of several images in one message, and another step follows.
    """
    images = [
        *write_images(folder / "memory", 9, *SIZE),
        write_plain_image(folder / "memory", "injection.png", CRASHES),
    ]
    plan = [["resize", "64x48"], ["split", True], ["trip"], ["blur", "median"]]
    return [JobSpec("memory", plan, images, output="png", chunk_size=8)]


MAKERS = {"points": make_jobs, "batch": make_batches, "poison": make_poison, "memory": make_memory}
"""Functions that make the jobs of each kind of run."""


def calculate_expected(spec: JobSpec, folder: Path) -> Expected:
    """Return the outcome of `penstock run`, without the image that would kill it."""
    files = [path for path in spec.files if path.name != "injection.png"]
    job, out = folder / f"{spec.name}.json", folder / f"{spec.name}-out"
    outputs = {"outputs": spec.outputs} if spec.outputs else {}
    job.write_text(json.dumps({"operations": spec.operations, "output": spec.output, **outputs}))
    command = [sys.executable, "-m", "penstock", "run", *map(str, files), "--job", str(job), "--out", str(out)]
    ran = subprocess.run(
        [*command, "--json", "--parallel", "1"], env=environment(), capture_output=True, timeout=RUN_SECS, check=False
    )
    assert ran.returncode in (0, 1), ran.stderr
    codes, results = _read_out(out, with_folders=bool(spec.outputs))
    if len(files) < len(spec.files):
        codes["injection.png"] = "step_crashed"
    assert {*codes, *results} == spec.images, (codes, results)
    return Expected(results, codes)


def environment() -> dict[str, str]:
    """The environment of a process with the tests' custom steps."""
    path = os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _read_out(out: Path, *, with_folders: bool) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    codes: dict[str, str] = {}
    results: dict[str, dict[str, str]] = {}
    for line in (out / "manifest.ndjson").read_text().splitlines()[1:]:  # the first line is the plan
        submission = json.loads(line)
        image = submission["image"] if with_folders else Path(submission["image"]).name
        if submission.get("error"):
            codes[image] = submission["error"]["code"]
        else:
            names = [result["name"] for result in submission["results"]]
            results[image] = {name: sha256(out / name) for name in names}
    return codes, results


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _break_png(folder: Path) -> bytes:
    """Return a PNG with a wrong byte, which its checksum detects."""
    data = bytearray(cv2.imencode(".png", np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE[1], SIZE[0]))[1])
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _long_plan() -> list[Any]:
    """Return a plan that is too long for a message and runs long enough to be observed."""
    return [["pause", 0.5], *([["pause", 1.234567890123456e-05]] * 30)]
