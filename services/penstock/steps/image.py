"""The picture that every step takes and gives."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Image = npt.NDArray[Any]
"""`H×W×3 uint8` in BGR order; not always contiguous (the parts of a split are views)."""
