"""Steps that are programs: those in other languages that the docs show, and an odd one that does as it is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ODD = Path(__file__).parent / "odd_step.py"
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
"""What the odd step does, and the code of the image it does so with; the number of each begins at 1."""
POSTERIZE: dict[str, Any] = {
    "type": "object",
    "properties": {"levels": {"type": "integer", "minimum": 2, "maximum": 256, "default": 4}},
    "additionalProperties": False,
}


def compile_invert(folder: Path, *options: str) -> Path | None:
    """Compile the example in C; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "invert"
    source = EXAMPLES / "invert" / "invert.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", *options, "-o", program, source], check=True)
    return program


def perl_command() -> list[str] | None:
    """The example in Perl; None where there is no Perl."""
    perl = shutil.which("perl")
    return None if perl is None else [perl, str(EXAMPLES / "posterize" / "posterize.pl")]


def posterize(picture: np.ndarray, levels: int) -> np.ndarray:
    """What the example in Perl is to make of a picture."""
    table = (np.arange(256) * levels // 256 * 255 // (levels - 1)).astype(np.uint8)
    return table[picture]


def paint(path: Path, kind: str = "good") -> None:
    """Write a grey picture whose last byte says what the odd step is to do."""
    picture = np.full((8, 10, 3), 100, np.uint8)
    picture[-1, -1, 2] = [*KINDS].index(kind) + 1 if kind in KINDS else 100
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), picture)
