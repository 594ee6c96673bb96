"""Steps that are programs: the examples in the docs, and an odd one that misbehaves on request."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ODD = Path(__file__).parent / "programs" / "odd_step.py"
FINDER = Path(__file__).parent / "programs" / "finder_step.py"
GATHERING = Path(__file__).parent / "programs" / "group_step.py"
FINDER_SCHEMA: dict[str, Any] = {"properties": {"scale": {"type": "integer", "default": 1}}}
KINDS = {
    "crash": "step_crashed",
    "hang": "step_timeout",
    "garbage": "step_crashed",
    "outside": "internal",
    "link": "internal",
    "cut": "internal",
    "refuse": "parameter_not_applicable",
    "none": "parameter_not_applicable",
    "many": "parameter_not_applicable",
}
"""What the odd step can do, and the error code of the image that asks for it; numbered from 1."""
POSTERIZE: dict[str, Any] = {
    "type": "object",
    "properties": {"levels": {"type": "integer", "minimum": 2, "maximum": 256, "default": 4}},
    "additionalProperties": False,
}


def compile_invert(folder: Path, *options: str) -> Path | None:
    """Compile the example in C; None if there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "invert"
    source = EXAMPLES / "invert" / "invert.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", *options, "-o", program, source], check=True)
    return program


def perl_command() -> list[str] | None:
    """The example in Perl; None if there is no Perl."""
    perl = shutil.which("perl")
    return None if perl is None else [perl, str(EXAMPLES / "posterize" / "posterize.pl")]


def draw_marked(folder: Path) -> Path:
    """Draw a JPEG file with EXIF and a sidecar, which marks a face; return it."""
    folder.mkdir(exist_ok=True)
    exif = b"MM\0*\0\0\0\x08\0\1\1\x0f\0\2\0\0\0\4Cam\0\0\0\0\0"
    segment = b"Exif\0\0" + exif
    data = cv2.imencode(".jpg", np.full((30, 40, 3), 90, np.uint8))[1].tobytes()
    marked = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    (folder / "x.jpg").write_bytes(marked)
    (folder / "x.jpg.regions.json").write_text('[{"box": [8, 6, 16, 12], "label": "face"}]')
    return folder / "x.jpg"


def regions_in(manifest: Path) -> list[list[dict[str, Any]]]:
    """Return the regions of the results in the last line of a manifest."""
    entry = json.loads(manifest.read_text().splitlines()[-1])
    return [result.get("regions", []) for result in entry["results"]]


def posterize(image: np.ndarray, levels: int) -> np.ndarray:
    """The expected result of the example in Perl."""
    table = (np.arange(256) * levels // 256 * 255 // (levels - 1)).astype(np.uint8)
    return table[image]


def paint(path: Path, kind: str = "good") -> None:
    """Write a grey image whose last byte says what the odd step does."""
    image = np.full((8, 10, 3), 100, np.uint8)
    image[-1, -1, 2] = [*KINDS].index(kind) + 1 if kind in KINDS else 100
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image)
