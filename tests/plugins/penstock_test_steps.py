"""Plugin steps for the tests, installed by adding this folder to `PYTHONPATH`.

`trip` misbehaves on images whose first pixel has a certain colour (BGR), and returns others unchanged.
"""

import json
import os
import signal
import time

import cv2
import numpy as np

from penstock.common.model.operations import Parameters
from penstock.common.registry import group_step, step

CRASH = (0, 0, 255)
HANG = (255, 0, 0)
RAISE = (0, 255, 0)
SHAPELESS = (0, 255, 255)


class Brighten(Parameters):
    """Make an image brighter."""

    amount: int = 10


@step("brighten", params=Brighten)
def brighten(image, params):
    return cv2.add(image, (params.amount,) * 3)


class Trip(Parameters):
    """Misbehave on certain images."""


@step("trip", params=Trip)
def trip(image, params):
    colour = tuple(int(value) for value in image[0, 0])
    if colour == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    if colour == HANG:
        while True:
            time.sleep(60)
    if colour == RAISE:
        raise RuntimeError("tripped\nover it")
    return image[:, :, 0] if colour == SHAPELESS else image


class Pause(Parameters):
    """Wait."""

    secs: float = 0.05


@step("pause", params=Pause)
def pause(image, params):
    time.sleep(params.secs)
    return image


class Twins(Parameters):
    """Make two parts: the image and its mirror image."""


@step("twins", params=Twins)
def twins(image, params):
    return [image, cv2.flip(image, 1)]


class Scribble(Parameters):
    """Modify the input array, which a step must not do."""


@step("scribble", params=Scribble)
def scribble(image, params):
    image[:] = 0
    return image


class Poses(Parameters):
    """List the images of a group, as files."""


@group_step("poses", params=Poses)
def poses(images, params):
    found = [{"name": image.name, "size": [image.width, image.height], "labels": image.labels} for image in images]
    return {"poses.json": json.dumps(found).encode(), "names.txt": "\n".join(each["name"] for each in found).encode()}


class Stack(Parameters):
    """Put the images of a group above each other, and misbehave on certain ones."""

    kind: str = ""


@group_step("stack", params=Stack)
def stack(images, params):
    if params.kind == "nothing":
        return []
    if params.kind == "text":
        return "text"
    pixels = []
    for image in images:
        pixels.append(trip(image.read(), params))
        time.sleep(0.2 if params.kind == "slow" else 0)
    return np.vstack(pixels)
