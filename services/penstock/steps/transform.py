"""Transform: an affine map of positions in an image, by which regions and panorama sizes follow its pixels."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from penstock.common.model.regions import MAX_POINTS, Region

Point = tuple[float, float]


class Transform(NamedTuple):
    """Maps (x, y) to (`xx`·x + `xy`·y + `x0`, `yx`·x + `yy`·y + `y0`).

    Positions are in pixels; (0, 0) is the outer corner of the first pixel, so that pixel i covers i to i + 1.
    """

    xx: float = 1.0
    xy: float = 0.0
    x0: float = 0.0
    yx: float = 0.0
    yy: float = 1.0
    y0: float = 0.0

    def apply(self, x: float, y: float) -> Point:
        """Return where a position goes."""
        return self.xx * x + self.xy * y + self.x0, self.yx * x + self.yy * y + self.y0

    def then(self, following: "Transform") -> "Transform":
        """Return this map followed by another."""
        xx, yx = _turn(following, self.xx, self.yx)
        xy, yy = _turn(following, self.xy, self.yy)
        x0, y0 = following.apply(self.x0, self.y0)
        return Transform(xx, xy, x0, yx, yy, y0)

    @property
    def scale(self) -> Point:
        """How many pixels across and down of the output one of the input becomes, if it is not turned; 1 otherwise."""
        return (abs(self.xx), abs(self.yy)) if self.xy == self.yx == 0 else (1.0, 1.0)

    @property
    def keeps_boxes(self) -> bool:
        """Whether a box is still a box afterwards, as after everything but a turn by some angle."""
        return (self.xy == 0 and self.yx == 0) or (self.xx == 0 and self.yy == 0)


IDENTITY = Transform()


def scaling(x: float, y: float) -> Transform:
    """Return the map of a resize by two factors."""
    return Transform(xx=x, yy=y)


def shifting(x: float, y: float) -> Transform:
    """Return the map of a crop or a border: everything moves by (x, y)."""
    return Transform(x0=x, y0=y)


def move_regions(regions: Iterable[Region], transform: Transform, width: int, height: int) -> Iterator[Region]:
    """Yield regions moved by a map and cut at the edges of an image; those outside are left out.

    A box that is turned by an angle becomes a polygon. A polygon that has too many corners once it is cut becomes the
    box around it.
    """
    for region in regions:
        corners = _clip([transform.apply(*corner) for corner in region.corners], width, height)
        if len(corners) < 3:
            continue
        xs, ys = zip(*corners, strict=True)
        if min(xs) == max(xs) or min(ys) == max(ys):
            continue
        if (region.box is not None and transform.keeps_boxes) or len(corners) > MAX_POINTS:
            box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
            yield region.model_copy(update={"box": box, "polygon": None})
        else:
            yield region.model_copy(update={"box": None, "polygon": tuple(corners)})


def _turn(transform: Transform, x: float, y: float) -> Point:
    return transform.xx * x + transform.xy * y, transform.yx * x + transform.yy * y


def _clip(points: list[Point], width: int, height: int) -> list[Point]:
    """Cut a polygon at the four edges of an image (Sutherland and Hodgman, doi:10.1145/360767.360802)."""
    for axis, limit, sign in ((0, 0.0, 1), (1, 0.0, 1), (0, float(width), -1), (1, float(height), -1)):
        kept: list[Point] = []
        for before, point in zip([*points[-1:], *points[:-1]], points, strict=True):
            inside, was_inside = sign * (point[axis] - limit) >= 0, sign * (before[axis] - limit) >= 0
            if inside != was_inside:
                share = (limit - before[axis]) / (point[axis] - before[axis])
                cut = [start + share * (end - start) for start, end in zip(before, point, strict=True)]
                cut[axis] = limit
                kept.append((cut[0], cut[1]))
            if inside:
                kept.append(point)
        points = kept
    return points
