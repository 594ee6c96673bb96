"""Make docs/images/before-after.jpg: an image, and the four results of resize → split → blur beside it.

    .venv/bin/python scripts/make_before_after.py PHOTO

The README shows scikit-image's sample `coffee`: a photograph by Rachel Michetti, released under CC0.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from penstock.__main__ import main as penstock

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "before-after.jpg"
WIDTH, HEIGHT = 480, 320
GAP = 8
ARROW = 64
OPERATIONS = [f"--op=resize={WIDTH}x{HEIGHT}", "--op=split", "--op=blur=bilateral"]
WHITE, GREY = 255, (120, 120, 120)


def main(photo: Path) -> int:
    """Run Penstock on a photograph and write the comparison; returns the exit status of `penstock run`."""
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["penstock", "run", str(photo), *OPERATIONS, "--out", folder, "--json"]
        try:
            penstock()
        except SystemExit as ended:
            if ended.code:
                return int(ended.code)
        results = [cv2.imread(str(Path(folder) / f"{photo.stem}-{part}.jpg")) for part in range(4)]
    canvas = np.full((HEIGHT + GAP, 2 * WIDTH + ARROW + GAP, 3), WHITE, np.uint8)
    paste(canvas, cv2.resize(cv2.imread(str(photo)), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), 0, GAP // 2)
    middle = (HEIGHT + GAP) // 2
    cv2.arrowedLine(canvas, (WIDTH + 14, middle), (WIDTH + ARROW - 14, middle), GREY, 4, cv2.LINE_AA, tipLength=0.4)
    for part, result in enumerate(results):
        row, column = divmod(part, 2)
        left = WIDTH + ARROW + column * (WIDTH // 2 + GAP)
        paste(canvas, result, left, row * (HEIGHT // 2 + GAP))
    cv2.imwrite(str(TARGET), canvas, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return 0


def paste(canvas: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    """Copy an image onto the canvas."""
    height, width = image.shape[:2]
    canvas[top : top + height, left : left + width] = image


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
