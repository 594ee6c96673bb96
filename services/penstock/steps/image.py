"""Image: pixels with what belongs to them, as it passes from one step to the next."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.regions import Region
from penstock.steps.transform import IDENTITY, Transform, move_regions

Pixels = npt.NDArray[Any]
"""`H×W×3` in BGR order, or `H×W×4` with alpha; `uint8`, or `uint16` of a 16-bit file. Not always contiguous (the parts
of a split are views)."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file carries besides its pixels, as far as the job keeps it; empty where there is none.

    `exif` is a TIFF structure, `xmp` an XML packet, `iptc` a sequence of IPTC-IIM records, `icc` a colour profile, and
    `geotiff` a TIFF structure that has the GeoTIFF tags alone. `type` is the file's type, `width` and `height` are the
    pixels of the upright image.
    """

    type: str = ""
    width: int = 0
    height: int = 0
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    icc: bytes = b""
    geotiff: bytes = b""

    @property
    def size_bytes(self) -> int:
        """How many bytes a result gets of it, at most."""
        return sum(map(len, (self.exif, self.xmp, self.iptc, self.icc, self.geotiff)))


class Shape(NamedTuple):
    """The pixels of a part: `height` × `width`, of so many `channels`, each a number of `sample_bytes`."""

    height: int
    width: int
    channels: int = 3
    sample_bytes: int = 1

    @property
    def weight(self) -> int:
        """How many times a pixel counts for the limit on them."""
        return weigh(deep=self.sample_bytes > 1, alpha=self.channels == 4)

    @property
    def counted_pixels(self) -> int:
        """The pixels as the limit counts them."""
        return self.width * self.height * self.weight


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step's function returns instead of an array, if it moves pixels or finds regions.

    `transform` maps positions of the input to the output; None: pixels stay in place if the size is unchanged,
    otherwise nobody knows where they went, and the image's regions are dropped. `regions` are what the step found, in
    pixels of the output.
    """

    pixels: Pixels
    transform: Transform | None = None
    regions: Sequence[Region] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One part of an image.

    `transform` maps positions of the upright source to this part; None: it is not known. `warnings` say what was lost
    on the way, as codes such as `depth_reduced`. Of a `reduced` image the decoder made fewer pixels than the file has;
    the resize that follows counts from the file's.
    """

    pixels: Pixels
    metadata: Metadata = Metadata()
    transform: Transform | None = IDENTITY
    regions: tuple[Region, ...] = ()
    warnings: tuple[str, ...] = ()
    reduced: bool = False

    @property
    def full_size(self) -> tuple[int, int]:
        """Width and height from which a resize counts."""
        if not self.reduced:
            return self.width, self.height
        return max(self.width, self.metadata.width), max(self.height, self.metadata.height)

    @property
    def shape(self) -> Shape:
        """What its pixels are."""
        height, width, channels = self.pixels.shape
        return Shape(height, width, channels, self.pixels.dtype.itemsize)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def derive(self, made: "Pixels | StepOutput") -> "Image":
        """Return the image that a step made of this one: its regions are moved, and its metadata stays."""
        output = made if isinstance(made, StepOutput) else StepOutput(made)
        pixels, transform, regions = output.pixels, output.transform, self.regions
        warnings, total = self.warnings, self.transform
        if transform is None and pixels.shape[:2] == self.pixels.shape[:2]:
            transform = IDENTITY
        if transform is None:
            if regions:
                warnings = self.warn("regions_dropped").warnings
            regions, total = (), None
        elif transform is not IDENTITY:
            height, width = pixels.shape[:2]
            regions = (*move_regions(regions, transform, width, height),)
            total = None if total is None else total.then(transform)
        return Image(pixels, self.metadata, total, (*regions, *output.regions), warnings)

    def warn(self, code: str) -> "Image":
        """Return the image with a warning, once."""
        return self if code in self.warnings else replace(self, warnings=(*self.warnings, code))


def weigh(*, deep: bool, alpha: bool) -> int:
    """Return how many times pixels count for the limit on them, by the memory that steps need for them.

    Those of 16 bits count twice, those with alpha twice, too: colours are weighted by it in twice as many bits.
    """
    return (2 if deep else 1) * (2 if alpha else 1)


def opaque_colour(color: str, dtype: npt.DTypeLike = np.uint8) -> tuple[int, int, int, int]:
    """Return `#rrggbb` as the values of an opaque BGRA pixel of a depth."""
    scale = np.iinfo(dtype).max // 255
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return blue * scale, green * scale, red * scale, 255 * scale


@contextmanager
def translate_opencv_errors(pixels: Pixels, action: str) -> Iterator[None]:
    """Raise `parameter_not_applicable` where OpenCV refuses an image; `action` is a participle for the message."""
    try:
        yield
    except cv2.error as error:
        height, width = pixels.shape[:2]
        raise ImageError(
            ImageCode.PARAMETER_NOT_APPLICABLE,
            f"an image of {width}x{height} pixels cannot be {action}: OpenCV says {error.err}",
        ) from error
