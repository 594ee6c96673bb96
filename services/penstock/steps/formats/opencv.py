"""OpenCV's readers and writers, with the errors of images."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np

from penstock.common.image_header import corrupt
from penstock.common.model.errors import ImageCode, ImageError
from penstock.steps.image import Image, Pixels


def imdecode(data: bytes, flags: int) -> Pixels:
    """Return a file's pixels as `cv2.imdecode` does with `flags`. Raises ImageError: `corrupt_image`."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise corrupt(f"the file cannot be decoded: {error.err}") from error
    if image is None:
        raise corrupt("the file cannot be decoded")
    return image


def imencode(extension: str, pixels: Pixels, parameters: Sequence[int] = ()) -> bytes:
    """Return the file that `cv2.imencode` makes of pixels."""
    _, encoded = cv2.imencode(extension, pixels, parameters)
    return encoded.tobytes()


def imdecode_unchanged(data: bytes) -> Pixels:
    """Return a file's pixels as it has them, not rotated: `H×W×3` in BGR order or `H×W×4`, `uint8` or `uint16`.

    Raises:
        ImageError: `corrupt_image`.
    """
    pixels = imdecode(data, cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels


def check_side(image: Image, name: str, longest: int) -> None:
    """Raise ImageError `parameter_not_applicable` where an image is larger than a format can hold."""
    if max(image.width, image.height) > longest:
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"{image.width}x{image.height} pixels do not fit in a {name}; accepted are up to {longest} per side",
        )


_capture_lock = threading.Lock()
_LIBJPEG_WARNINGS = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression", "Invalid ", "Warning: ")


@contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Collect the warnings that libjpeg writes to the process's standard error, for which OpenCV has no other way.

    The list is complete when the context ends. What others write meanwhile is passed on.
    """
    warnings: list[str] = []
    with _capture_lock, tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield warnings
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            for line in file.read().decode(errors="replace").splitlines():
                if line.startswith(_LIBJPEG_WARNINGS):
                    warnings.append(line)
                else:
                    sys.stderr.write(f"{line}\n")
