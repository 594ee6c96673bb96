"""Measure how close reduced decoding of JPEG files comes to exact decoding, and what it saves.

Usage: measure_reduction.py [FOLDER_OF_PHOTOGRAPHS …]; by default street and kodak of ../shared/data.

Each photograph is resized to fit in squares of several sizes, once after exact and once after reduced decoding, for
several values of the least number of reduced pixels per pixel of the result. PNG files are written as JPEG of quality
95 first. PSNR is over all channels, SSIM over the brightness (doi:10.1109/TIP.2003.819861): the mean, and the lowest of
any photograph. Results for which the decoder does not reduce are left out. Times are CPU milliseconds of decoding and
resizing together, the least of five.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import simplejpeg

from penstock.common.model.resize import Resize
from penstock.steps.allocator import limit_threads
from penstock.steps.formats.reduction import find_reduction
from penstock.steps.image import Pixels
from penstock.steps.resize import resize

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LEAST_RESTS = (1.0, 1.25, 1.5, 2.0, 3.0)
SIDES = (64, 96, 128, 160, 200, 256, 320, 400, 512, 640, 800, 1024, 1280)
ROUNDS = 5


@dataclass(frozen=True)
class Comparison:
    """One photograph at one size: likeness of the two results, and CPU seconds of each way."""

    psnr: float
    ssim: float
    exact_secs: float
    reduced_secs: float


def main(folders: list[str]) -> None:
    """Print a table."""
    limit_threads()
    paths = [Path(folder) for folder in folders] or [DATA / "street", DATA / "kodak"]
    files = [
        read_jpeg(path) for folder in paths for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png")
    ]
    print("| least rest | results | reduced | PSNR, dB | lowest | SSIM | lowest | exact, ms | reduced, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for least in LEAST_RESTS:
        print(describe(least, [found for data in files for side in SIDES for found in compare(data, side, least)]))


def read_jpeg(path: Path) -> bytes:
    """Return a photograph as a JPEG file."""
    if path.suffix == ".jpg":
        return path.read_bytes()
    return cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def compare(data: bytes, side: int, least_rest: float) -> Iterator[Comparison | None]:
    """Yield the comparison of a photograph that is larger than a square, or None if it is not reduced."""
    height, width = simplejpeg.decode_jpeg_header(data)[:2]
    if max(width, height) <= side:
        return
    params = Resize(width=side, height=side, fit="inside")
    factor = find_reduction(width, height, params, least_rest)
    if factor == 1:
        yield None
        return
    exact_secs, exact = measure(partial(process, data, params, 1))
    reduced_secs, reduced = measure(partial(process, data, params, factor))
    yield Comparison(cv2.PSNR(exact, reduced), find_ssim(exact, reduced), exact_secs, reduced_secs)


def process(data: bytes, params: Resize, factor: int) -> Pixels:
    """Return a photograph, reduced by a factor as it is decoded, at the size of `params`."""
    height, width = simplejpeg.decode_jpeg_header(data)[:2]
    pixels = simplejpeg.decode_jpeg(data, "BGR", min_height=-(-height // factor), min_width=-(-width // factor))
    return resize(pixels, params, (width, height)).pixels


def measure(work: Callable[[], Pixels]) -> tuple[float, Pixels]:
    """Return the least CPU seconds of several rounds, and the pixels."""
    secs = []
    for _ in range(ROUNDS):
        began = time.process_time()
        pixels = work()
        secs.append(time.process_time() - began)
    return min(secs), pixels


def find_ssim(one: Pixels, other: Pixels) -> float:
    """Return the structural similarity of two images' brightness: 11×11 Gaussian windows with a sigma of 1.5."""
    first, second = (cv2.cvtColor(each, cv2.COLOR_BGR2GRAY).astype(np.float64) for each in (one, other))

    def blur(values: Pixels) -> Pixels:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    mean, other_mean = blur(first), blur(second)
    variance, other_variance = blur(first * first) - mean**2, blur(second * second) - other_mean**2
    covariance = blur(first * second) - mean * other_mean
    light, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean * other_mean + light) * (2 * covariance + contrast)
    likeness /= (mean**2 + other_mean**2 + light) * (variance + other_variance + contrast)
    return float(likeness.mean())


def describe(least_rest: float, found: list[Comparison | None]) -> str:
    """Return a row of the table."""
    reduced = [each for each in found if each is not None]
    psnr, ssim = [each.psnr for each in reduced], [each.ssim for each in reduced]
    exact_ms, reduced_ms = (
        1000 * fmean(secs) for secs in zip(*((each.exact_secs, each.reduced_secs) for each in reduced), strict=True)
    )
    cells = (
        f"{least_rest:g}", f"{len(found)}", f"{len(reduced)}", f"{fmean(psnr):.1f}", f"{min(psnr):.1f}",
        f"{fmean(ssim):.3f}", f"{min(ssim):.3f}", f"{exact_ms:.1f}", f"{reduced_ms:.1f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
