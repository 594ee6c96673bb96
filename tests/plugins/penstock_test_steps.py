"""Steps of one's own for the tests, installed by having this folder on `PYTHONPATH`.

`trip` misbehaves on pictures whose first pixel has a certain colour (BGR), and leaves all others as they are.
"""

import os
import signal
import time

import cv2

from penstock.common.model.operations import Parameters
from penstock.common.registry import step

CRASH = (0, 0, 255)
HANG = (255, 0, 0)
RAISE = (0, 255, 0)
SHAPELESS = (0, 255, 255)


class Brighten(Parameters):
    """Make a picture brighter."""

    amount: int = 10


@step("brighten", params=Brighten)
def brighten(image, params):
    return cv2.add(image, (params.amount,) * 3)


class Trip(Parameters):
    """Trip over certain pictures."""


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
    """Take a while."""

    secs: float = 0.05


@step("pause", params=Pause)
def pause(image, params):
    time.sleep(params.secs)
    return image


class Twins(Parameters):
    """Two pictures of one: itself and its mirror image."""


@step("twins", params=Twins)
def twins(image, params):
    return [image, cv2.flip(image, 1)]


class Scribble(Parameters):
    """Write into the picture that was given, which a step must not do."""


@step("scribble", params=Scribble)
def scribble(image, params):
    image[:] = 0
    return image
