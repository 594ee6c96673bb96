"""Plain OpenCV pool: the baseline of `penstock bench`, without any code of Penstock.

One process per core with OpenCV's threads off: `imread`, the operations, `imwrite`. Run as
`python -m penstock.benchmark.bench.plain_pool FOLDER OUT jpg --op=resize=200x300 --op=split --op=blur=gaussian`.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
from cv2.typing import MatLike


def apply(image: MatLike, name: str, value: str) -> list[MatLike]:
    """Apply one operation to an `H×W×3 uint8` array."""
    match name, value:
        case "resize", size:
            width, height = map(int, size.split("x"))
            return [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)]
        case "split", _:
            y, x = image.shape[0] // 2, image.shape[1] // 2
            return [image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:]]
        case "blur", "gaussian":
            return [cv2.GaussianBlur(image, (5, 5), 0)]
        case "blur", "bilateral":
            return [cv2.bilateralFilter(image, 9, 75, 75)]
        case "blur", "median":
            return [cv2.medianBlur(image, 5)]
    raise ValueError(f"{name}={value} is not an operation")


def process(path: Path, out: Path, extension: str, operations: list[tuple[str, str]]) -> None:
    """Process one image and write its results."""
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path} cannot be read")
    parts = [image]
    for name, value in operations:
        parts = [made for part in parts for made in apply(part, name, value)]
    for index, part in enumerate(parts):
        stem = path.stem if len(parts) == 1 else f"{path.stem}-{index}"
        cv2.imwrite(str(out / f"{stem}.{extension}"), part)


def main(folder: str, out: str, extension: str, *options: str) -> None:
    """Process a folder on every core."""
    operations = [
        (name, value) for name, _, value in (option.removeprefix("--op=").partition("=") for option in options)
    ]
    paths = sorted(Path(folder).iterdir())
    work = partial(process, out=Path(out), extension=extension, operations=operations)
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for _ in pool.map(work, paths, chunksize=max(1, min(32, len(paths) // (cores * 4)))):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
