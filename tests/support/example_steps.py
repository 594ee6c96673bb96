"""The steps in other languages that the docs show, as this host has what they need."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
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
