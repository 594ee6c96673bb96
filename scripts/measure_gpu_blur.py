"""Compare blur on an NVIDIA GPU with OpenCV, byte for byte, and print the milliseconds that an image takes.

    .venv/bin/pip install 'penstock[gpu]'
    .venv/bin/python scripts/measure_gpu_blur.py

or in the container image:

    docker run --rm --gpus all --volume "$PWD/scripts:/scripts:ro" --entrypoint python3 local/penstock-blur-gpu:0.1.0 \
      /scripts/measure_gpu_blur.py

The columns: OpenCV on one core; the GPU with transfers, as a worker sees it; its kernels alone. Exits with 1 if a byte
differs.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import cv2
import numpy as np

from penstock.common.model.effects import Blur
from penstock.steps.blur import blur
from penstock.steps.filters import base as filters
from penstock.steps.filters.base import Filters, OpenCVFilters
from penstock.steps.filters.cuda import CudaFilters, NoDeviceError
from penstock.steps.image import Pixels

STRENGTHS = (
    *("gaussian", "gaussian,sigma=8"),
    *("median", "median,aperture=3", "median,aperture=15"),
    *("bilateral,portable=true", "bilateral,diameter=25,portable=true"),
)


def draw(side: int) -> dict[str, Pixels]:
    """Return images by what they are: one of side × side pixels, and others of sides that no block divides."""
    noise = np.random.default_rng(5)
    smooth = cv2.resize(noise.integers(0, 256, (8, 8, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    shades = cv2.add(smooth, noise.integers(0, 12, smooth.shape, np.uint8))
    odd = (side - 3, side + 5)
    return {
        "8 bits": shades,
        "noise": noise.integers(0, 256, (*odd, 3), np.uint8),
        "with alpha": noise.integers(0, 256, (*odd, 4), np.uint8),
        "16 bits": noise.integers(0, 65_536, (*odd, 3), np.uint16),
    }


def run(chosen: Filters, pixels: Pixels, params: Blur) -> Pixels:
    """Return what the step makes with some filters."""
    filters.chosen = chosen
    return blur(pixels, params)


def compare(on_gpu: Filters, drawn: dict[str, Pixels], params: Blur) -> list[str]:
    """Return a line for each image of which the GPU makes other bytes than OpenCV."""
    found = []
    for name, pixels in drawn.items():
        if params.supports_16_bit or pixels.dtype == np.uint8:
            differing = np.count_nonzero(run(on_gpu, pixels, params) != run(OpenCVFilters(), pixels, params))
            if differing:
                found.append(f"{params.method}, {name}: {differing} of {pixels.size} values differ")
    return found


def measure_ms(chosen: Filters, pixels: Pixels, params: Blur, images: int) -> tuple[float, float]:
    """Return the mean time of an image, and that of its kernels if there are any."""
    kernels_ms, began = 0.0, time.perf_counter()
    for _ in range(images):
        run(chosen, pixels, params)
        kernels_ms += chosen.kernel_ms if isinstance(chosen, CudaFilters) else 0
    return (time.perf_counter() - began) * 1_000 / images, kernels_ms / images


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1_024, help="width and height of the images (default: 1024)")
    parser.add_argument("--images", type=int, default=50, help="images per measurement (default: 50)")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        on_gpu = CudaFilters()
    except NoDeviceError as error:
        print(error, file=sys.stderr)
        return 1
    drawn = draw(options.side)
    different: list[str] = []
    print(f"{f'ms per image of {options.side}x{options.side}':<30}{'OpenCV':>10}{'GPU':>10}{'kernels':>10}")
    for short in STRENGTHS:
        params = Blur.from_short(short)
        different += compare(on_gpu, drawn, params)
        cpu_ms, _ = measure_ms(OpenCVFilters(), drawn["8 bits"], params, options.images)
        gpu_ms, kernels_ms = measure_ms(on_gpu, drawn["8 bits"], params, options.images)
        print(f"{short:<30}{cpu_ms:10.2f}{gpu_ms:10.2f}{kernels_ms:10.2f}")
    print("\n".join(different) or "every byte is OpenCV's")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
