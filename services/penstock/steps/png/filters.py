"""PNG filters: each byte of a row becomes its difference from a prediction, which compresses better.

https://www.w3.org/TR/png-3/#9Filters. OpenCV's vector code does the work, in bands that fit the processor's cache;
nothing here loops over pixels or rows.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from penstock.steps.image import Pixels

NONE, SUB, UP, AVERAGE, PAETH = range(5)
ALL_FILTERS = (PAETH, AVERAGE, UP, SUB)
"""Every filter that helps; the one that is most often the best comes first."""

_BAND_BYTES = 256 * 1024
_SAMPLED_ROWS = 24
_WORTHWHILE_SHARE = 0.98
_SAMPLING_WORTHWHILE_BYTES = 96 * 1024


def pad_rows(image: Pixels) -> Pixels:
    """Return an image as the bytes of its rows, with a row of zeros on top and a pixel of zeros on the left.

    They are RGB, or RGBA of `H×W×4`; `uint16` has its upper byte first. With B bytes per pixel, the shape is
    `(H+1)×(B·(W+1))`.
    """
    height, width, channels = image.shape
    padded = np.empty((height + 1, width + 1, channels), image.dtype)
    padded[0] = 0
    padded[:, 0] = 0
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA, dst=padded[1:, 1:])
    if image.dtype != np.uint8:
        padded = padded.astype(">u2")
    return padded.view(np.uint8).reshape(height + 1, -1)


def filter_rows(padded: Pixels, kinds: Sequence[int], pixel_bytes: int) -> Pixels:
    """Filter each row of `pad_rows` by the one of `kinds` with the smallest sum of absolute differences.

    The PNG specification recommends this heuristic. With B bytes per pixel, the shape is `H×(1+B·W)`.
    """
    height, row_bytes = padded.shape[0] - 1, padded.shape[1] - pixel_bytes
    rows = np.empty((height, 1 + row_bytes), np.uint8)
    band = max(1, _BAND_BYTES // row_bytes)
    for top in range(0, height, band):
        _filter_band(padded[top : top + band + 1], kinds, pixel_bytes, rows[top : top + band])
    return rows


def needed_filters(padded: Pixels, pixel_bytes: int) -> tuple[int, ...]:
    """Return the filters worth trying on each row: Paeth alone where, in a sample, the others gain nothing.

    Trying all takes twice as long as Paeth alone, and makes most photographs hardly smaller.
    """
    if padded.size < _SAMPLING_WORTHWHILE_BYTES:
        return ALL_FILTERS
    height = padded.shape[0] - 1
    sampled = np.linspace(1, height, min(height, _SAMPLED_ROWS)).astype(np.intp)
    pairs = padded[np.stack((sampled - 1, sampled), axis=1).ravel()]
    costs = np.stack([_cost(_FILTERS[kind](pairs, pixel_bytes))[::2] for kind in ALL_FILTERS])
    gain = costs.min(axis=0).sum() < _WORTHWHILE_SHARE * costs[0].sum()
    return ALL_FILTERS if gain else ALL_FILTERS[:1]


def _filter_band(padded: Pixels, kinds: Sequence[int], pixel_bytes: int, rows: Pixels) -> None:
    filtered = [_FILTERS[kind](padded, pixel_bytes) for kind in kinds]
    rows[:, 1:] = filtered[0]
    if len(kinds) == 1:
        rows[:, 0] = kinds[0]
        return
    best = np.argmin([_cost(candidate) for candidate in filtered], axis=0)
    rows[:, 0] = np.asarray(kinds, np.uint8)[best]
    for index, candidate in enumerate(filtered[1:], start=1):
        chosen = np.flatnonzero(best == index)
        if len(chosen):
            rows[chosen, 1:] = candidate[chosen]


def _cost(filtered: Pixels) -> Pixels:
    """Return the sum of absolute differences of each row (one less per negative difference, which saves a step)."""
    magnitudes = cv2.min(filtered, cv2.bitwise_not(filtered))
    return cv2.reduce(magnitudes, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()


def _average(padded: Pixels, pixel_bytes: int) -> Pixels:
    left, up = padded[1:, :-pixel_bytes], padded[:-1, pixel_bytes:]
    mean = np.right_shift(left ^ up, 1)
    mean += left & up
    return np.subtract(padded[1:, pixel_bytes:], mean, out=mean)


def _paeth(padded: Pixels, pixel_bytes: int) -> Pixels:
    """Predict by whichever of left, up and corner is nearest to p = left + up - corner, in that order if equal.

    In bytes: the distance from p to left is |up - corner|, to up |left - corner|, and to corner the difference of these
    two if left and up lie on different sides of corner. Otherwise corner is never nearer than both.
    """
    left, up, corner = padded[1:, :-pixel_bytes], padded[:-1, pixel_bytes:], padded[:-1, :-pixel_bytes]
    to_left = cv2.absdiff(up, corner)
    to_up = cv2.absdiff(left, corner)
    to_corner = cv2.absdiff(to_left, to_up)
    same_side = cv2.bitwise_xor(cv2.compare(left, corner, cv2.CMP_GT), cv2.compare(up, corner, cv2.CMP_LT))
    cv2.bitwise_or(to_corner, same_side, dst=to_corner)
    take_up = cv2.compare(to_up, to_corner, cv2.CMP_LE)
    take_left = cv2.compare(to_left, cv2.min(to_up, to_corner), cv2.CMP_LE)
    predicted = corner.copy()
    cv2.copyTo(up, take_up, predicted)
    cv2.copyTo(left, take_left, predicted)
    return np.subtract(padded[1:, pixel_bytes:], predicted, out=predicted)


_FILTERS: dict[int, Callable[[Pixels, int], Pixels]] = {
    NONE: lambda padded, pixel_bytes: padded[1:, pixel_bytes:],
    SUB: lambda padded, pixel_bytes: padded[1:, pixel_bytes:] - padded[1:, :-pixel_bytes],
    UP: lambda padded, pixel_bytes: padded[1:, pixel_bytes:] - padded[:-1, pixel_bytes:],
    AVERAGE: _average,
    PAETH: _paeth,
}
