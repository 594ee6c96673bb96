"""Camera positions: writes what OpenSfM needs to compute where the images of a group were taken.

OpenSfM takes the images from `image_list.txt`, and from `exif_overrides.json` what their files do not say, or say
wrongly: https://opensfm.org/docs/using.html.
"""

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from penstock.common.errors import ImageCode, ImageError
from penstock.common.operations import Parameters
from penstock.common.registry import group_step
from penstock.steps.groups.image import GroupImage


class CameraPositions(Parameters):
    """Write the names, sizes and GPS positions of all images of a group for OpenSfM."""

    dop: Annotated[float, Field(gt=0, description="Standard deviation of the GPS positions in metres")] = 15.0
    images: Annotated[
        str, Field(description="Path from the group's folder to that of all results; ../.. for groups by label")
    ] = "../.."


@group_step("camera-positions", params=CameraPositions)
def camera_positions(images: Iterable[GroupImage], params: CameraPositions) -> dict[str, bytes]:
    """Return the two files. No image is read: what the job knows of them is enough.

    Raises:
        ImageError: `parameter_not_applicable`, two images have the same name in different folders.
    """
    paths: dict[str, str] = {}
    overrides: dict[str, Any] = {}
    for image in images:
        name = PurePosixPath(image.name).name  # by which OpenSfM knows an image, whatever its folder
        if name in paths:
            message = f"{image.name} and {paths[name]} have the same name, which OpenSfM cannot tell apart"
            raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, message)
        paths[name] = image.name
        overrides[name] = {"width": image.width, "height": image.height, "orientation": 1}
        if image.place is not None:
            overrides[name]["gps"] = {
                "latitude": image.place.latitude,
                "longitude": image.place.longitude,
                "dop": params.dop,
            }
            if image.place.altitude is not None:
                overrides[name]["gps"]["altitude"] = image.place.altitude
    lines = [f"{params.images}/{path}\n" for path in paths.values()]
    text = json.dumps(overrides, ensure_ascii=False, indent=1)
    return {"image_list.txt": "".join(lines).encode(), "exif_overrides.json": text.encode()}
