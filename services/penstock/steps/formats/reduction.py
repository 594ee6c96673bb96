"""Reduction: how much smaller a decoder may make an image whose next step is a resize.

The decoder of JPEG makes each block of 8×8 pixels from 4×4, 2×2 or 1 of its frequencies ("shrink on load"), which takes
less time than all pixels and scaling them. `scripts/measure_reduction.py` measures the difference.
"""

from penstock.common.model.resize import Resize

LEAST_REST = 1.5
"""Pixels of the reduced image per pixel of the result, in each direction; fewer would cost sharpness."""

FACTORS = (8, 4, 2)


def find_reduction(width: int, height: int, target: Resize | None, least_rest: float = LEAST_REST) -> int:
    """Return 2, 4 or 8 where an upright image of this size may be decoded that much smaller for `target`, else 1.

    Only the mean of areas gives nearly the same result: the other interpolations look at single pixels of the image.
    """
    if target is None or target.interpolation != "area":
        return 1
    layout = target.lay_out(width, height)
    rest = min(layout.box[2] / layout.size[0], layout.box[3] / layout.size[1])
    return next((factor for factor in FACTORS if rest >= factor * least_rest), 1)
