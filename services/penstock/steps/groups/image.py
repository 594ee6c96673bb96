"""GroupImage: what a group step gets of each image: what is known of a result, and its file once it is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.common.model.errors import ImageError
from penstock.common.model.operations import Decode
from penstock.common.model.regions import Place, Region
from penstock.common.model.resize import Resize
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.image import Pixels
from penstock.steps.resize import resize


@dataclass(frozen=True)
class GroupImage:
    """A result of an image of a group. Only what is asked for is read, so that a group may be larger than the memory.

    `name` is the result's name in the job, such as `north/a.jpg`. `regions` are in its pixels, and `place` is what its
    metadata say. `labels` came with the image.
    """

    name: str
    width: int
    height: int
    regions: tuple[Region, ...]
    place: Place | None
    labels: Mapping[str, str]
    data: Callable[[], bytes]
    """Returns the bytes of its file. Raises ImageError, such as `source_not_found`."""
    limits: Limits

    def read(self, size: Resize | None = None) -> Pixels:
        """Return its pixels in sRGB, `H×W×3 uint8` in BGR order, with what is transparent on white.

        With `size` they are scaled, and a JPEG is decoded at no more pixels than that needs.

        Raises:
            ImageError: the file is gone, or cannot be decoded within the limits.
        """
        reading = Decode(
            mode="exact" if size is None else "scaled", target=size, metadata="none", profile="srgb", depth="8"
        )
        data = self.data()
        try:
            image = decode(data, self.limits, reading)
            return image.pixels if size is None else resize(image.pixels, size, image.full_size).pixels
        except ImageError as error:
            raise ImageError(error.code, f"{self.name}: {error.message}") from error
