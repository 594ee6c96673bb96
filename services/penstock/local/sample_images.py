"""Sample images: drawn, but as costly to encode and decode as photographs. For the demo, the benchmark and the tests.

In a photograph, contrast falls with frequency (about 1/f), edges come from overlapping objects, and the sensor adds a
little noise. An image with all three costs a codec about as much as a photograph of the same size.
The same seed and size give the same pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Layer = NDArray[np.float32]

SHAPES = 24
COARSEST_CELLS = 3
"""Cells per side of the coarsest texture layer; each finer layer has twice as many."""
COARSEST_CONTRAST = 26.0
FALLOFF = 0.77
"""Contrast of each layer relative to the coarser one. With these constants, file sizes match street photographs."""
SENSOR_NOISE = 2.2
JPEG_QUALITY = 95


def draw_image(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return one image as `height × width × 3 uint8`, BGR; `seed` is 0 or more, the sides are 1 pixel or more."""
    import numpy as np

    rng = np.random.default_rng((seed, width, height))
    scene = _draw_sky(rng, width, height)
    _draw_shapes(rng, scene)
    scene += _draw_texture(rng, width, height)
    scene += rng.normal(0.0, SENSOR_NOISE, scene.shape).astype(np.float32)
    return np.clip(scene, 0, 255).astype(np.uint8)


def write_images(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write the images of seeds 0 to `count - 1` as `photo-0000.jpg` and so on, JPEGs of quality 95."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo-{seed:04d}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        _, file = cv2.imencode(".jpg", draw_image(seed, width, height), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        path.write_bytes(file.tobytes())
    return paths


def _draw_sky(rng: np.random.Generator, width: int, height: int) -> Layer:
    import numpy as np

    top, bottom = rng.uniform(60, 200, (2, 3)).astype(np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.repeat(top * (1 - down) + bottom * down, width, axis=1)


def _draw_shapes(rng: np.random.Generator, scene: Layer) -> None:
    import cv2

    height, width = scene.shape[:2]
    for _ in range(SHAPES):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        across, down = int(rng.integers(1, width // 4 + 2)), int(rng.integers(1, height // 4 + 2))
        colour = rng.uniform(20, 235, 3).tolist()
        if rng.random() < 0.5:
            cv2.rectangle(scene, (x, y), (x + across, y + down), colour, cv2.FILLED)
        else:
            cv2.ellipse(scene, (x, y), (across, down), float(rng.uniform(0, 180)), 0, 360, colour, cv2.FILLED)


def _draw_texture(rng: np.random.Generator, width: int, height: int) -> Layer:
    import cv2
    import numpy as np

    texture = np.zeros((height, width, 3), np.float32)
    cells, contrast = COARSEST_CELLS, COARSEST_CONTRAST
    while cells < max(width, height):
        layer = rng.normal(0.0, contrast, (cells, cells, 1)) + rng.normal(0.0, contrast / 4, (cells, cells, 3))
        texture += cv2.resize(layer.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        cells, contrast = cells * 2, contrast * FALLOFF
    return texture
