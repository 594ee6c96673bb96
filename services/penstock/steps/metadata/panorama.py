"""Panorama: GPano's sizes follow a panorama that is resized or cut into tiles.

https://developers.google.com/streetview/spherical-metadata: a file may hold a part of a full panorama. Its place there
is given in pixels, in which the file is as wide as the part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.steps.metadata.xmp_packet import Name, Property
from penstock.steps.transform import Transform

PANORAMA = "http://ns.google.com/photos/1.0/panorama/"

_MAX_SIDE = 1_000_000
_INNER = "LargestValidInteriorRect"
"""Optional sizes, left out as they are in the source's pixels."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """One direction: the names of its sizes, and how a result lies in its source, which is `source` pixels long."""

    full: str
    cropped: str
    start: str
    source: int
    length: int
    factor: float
    shift: float

    def is_inside(self) -> bool:
        """Whether the result shows nothing but the source, the right way round."""
        end = self.shift + self.factor * self.source
        return self.factor > 0 and self.shift <= 0.5 and end >= self.length - 0.5

    def move(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the sizes for the result. Raises ValueError if those of the source are missing or make no sense."""
        full, cropped, start = (sizes.get(name, 0) for name in (self.full, self.cropped, self.start))
        cropped = cropped or self.source
        full = full or cropped
        if not 0 < cropped <= full <= _MAX_SIDE or not 0 <= start <= full - cropped:
            raise ValueError("the panorama's part lies outside of it")
        scale = self.factor * self.source / cropped
        moved_start = max(0, round(start * scale - self.shift))
        moved_full = max(round(full * scale), moved_start + self.length)
        return {self.full: moved_full, self.cropped: self.length, self.start: moved_start}


def move_panorama(
    properties: Mapping[Name, Property], source: tuple[int, int], transform: Transform | None, width: int, height: int
) -> dict[Name, Property]:
    """Return properties with GPano's sizes as they are in a result of `width` × `height` pixels.

    Without any GPano properties if its pixels were turned, mirrored or framed, or nobody knows where they are.

    Args:
        properties: those of the source.
        source: width and height of the source in pixels.
        transform: where the source's pixels went; None: it is not known.
        width: width of the result in pixels.
        height: height of the result in pixels.
    """
    given = {name[1]: value for name, value in properties.items() if name[0] == PANORAMA}
    others = {name: value for name, value in properties.items() if name[0] != PANORAMA}
    if not given or transform is None or transform.xy or transform.yx:
        return others
    axes = (
        _Axis(*_ACROSS, source[0], width, transform.xx, transform.x0),
        _Axis(*_DOWN, source[1], height, transform.yy, transform.y0),
    )
    try:
        sizes = {name: round(float(given[name].text or "")) for name in (*_ACROSS, *_DOWN) if name in given}
        if not all(source) or not all(axis.is_inside() for axis in axes):
            return others
        moved = axes[0].move(sizes) | axes[1].move(sizes)
    except (ValueError, OverflowError):
        return others
    prefix = next(value.prefix for value in given.values())
    kept = {(PANORAMA, name): value for name, value in given.items() if not name.startswith(_INNER)}
    made = {(PANORAMA, name): Property(prefix, str(size), {prefix: PANORAMA}) for name, size in moved.items()}
    return others | kept | made


_ACROSS = ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels", "CroppedAreaLeftPixels")
_DOWN = ("FullPanoHeightPixels", "CroppedAreaImageHeightPixels", "CroppedAreaTopPixels")
