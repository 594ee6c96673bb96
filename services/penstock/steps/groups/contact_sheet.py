"""Contact sheet: small copies of all images of a group in rows, with their names below."""

from collections.abc import Iterable, Iterator
from itertools import islice

import cv2
import numpy as np

from penstock.common.model.geometry import ContactSheet
from penstock.common.model.resize import Resize
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Pixels, opaque_colour

_FONT_SIZE = 14
_WEIGHT = 400
_CAPTION_HEIGHT = 24
_BASELINE = 17
"""Pixels from the lower edge of a copy to the line that its name stands on."""
_LUMA = (0.114, 0.587, 0.299)
"""Weights of blue, green and red in the brightness of a colour (ITU-R BT.601)."""


def contact_sheet(images: Iterable[GroupImage], params: ContactSheet) -> Iterator[Pixels]:
    """Yield the sheets, `H×W×3 uint8` in BGR order, each once its images are read.

    An image is scaled down to fit in its cell, never up, and stands in the middle of it.

    Raises:
        ImageError: an image of the group cannot be read.
    """
    size = Resize(width=params.width, height=params.height, fit="inside", enlarge=False)
    rest = iter(images)
    while shown := [*islice(rest, params.columns * params.rows)]:
        sheet = _Sheet(params, len(shown))
        for index, image in enumerate(shown):
            sheet.add(index, image.read(size), image.name)
        yield sheet.pixels


class _Sheet:
    """A sheet with cells for `count` images."""

    def __init__(self, params: ContactSheet, count: int) -> None:
        self._params = params
        self._columns = min(count, params.columns)
        self._caption_height = _CAPTION_HEIGHT if params.captions else 0
        self._across = params.width + params.gap
        self._down = params.height + self._caption_height + params.gap
        rows = -(-count // params.columns)
        colour = opaque_colour(params.background)[:3]
        shape = (rows * self._down + params.gap, self._columns * self._across + params.gap, 3)
        self.pixels = np.full(shape, colour, np.uint8)
        self._text_colour = (0, 0, 0) if np.dot(colour, _LUMA) > 127 else (255, 255, 255)

    def add(self, index: int, copy: Pixels, name: str) -> None:
        """Put an image's copy and its name into the cell at an index."""
        params = self._params
        row, column = divmod(index, params.columns)
        left, top = params.gap + column * self._across, params.gap + row * self._down
        height, width = copy.shape[:2]
        x, y = left + (params.width - width) // 2, top + (params.height - height) // 2
        self.pixels[y : y + height, x : x + width] = copy
        if params.captions:
            self._write(name, left, top + params.height)

    def _write(self, name: str, left: int, top: int) -> None:
        """Write a name in the middle of a cell below `top`; if it is too long, its beginning is left out."""
        font, width = cv2.FontFace("sans"), self._params.width
        text, text_width = name, _measure(name, font)
        while text_width > width and len(name) > 1:
            name = name[max(1, len(name) - int(len(name) * width / text_width)) :]
            text = f"…{name}"
            text_width = _measure(text, font)
        caption = self.pixels[top : top + self._caption_height, left : left + width]
        origin = (max(0, (width - text_width) // 2), _BASELINE)
        cv2.putText(caption, text, origin, self._text_colour, font, _FONT_SIZE, _WEIGHT)


def _measure(text: str, font: cv2.FontFace) -> int:
    """Return the width of a text in pixels."""
    return int(cv2.getTextSize((0, 0), text, (0, 0), font, _FONT_SIZE, _WEIGHT)[2])
