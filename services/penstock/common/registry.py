"""Registry of steps: built-in ones, custom ones from installed packages, and declared ones.

A package adds a step with `@step` or `@group_step` on a function, and an entry point for it in the group
`penstock.steps`. An example is in `docs/steps.md`. A step that cannot be loaded is broken: it is left out, and
`broken_steps` says why.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from penstock.common.model.errors import PenstockError
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.model.operations import (
    BUILT_IN,
    BUILT_IN_GROUP_STEPS,
    DECODE,
    GATHER,
    Decode,
    Gather,
    Parameters,
)
from penstock.common.model.schema_parameters import declare_parameters
from penstock.common.settings import DeclaredStep

ENTRY_POINT_GROUP = "penstock.steps"
log = logging.getLogger(__name__)

StepFunction = Callable[..., Any]
"""`(image, parameters) → image or list of images`; an image is an `H×W×3 uint8` array in BGR order.

It may return a `StepOutput` instead of an array. A step with `regions` also gets the image's regions."""


class StepError(PenstockError):
    """A custom or declared step cannot be used."""


@dataclass(frozen=True)
class CustomStep:
    """A step from an installed package: its name, parameter model and function."""

    name: str
    params: type[Parameters]
    function: StepFunction
    takes_regions: bool = False
    takes_group: bool = False

    def __call__(self, images: Any, params: Any, *regions: Any) -> Any:
        return self.function(images, params, *regions)


def step(name: str, *, params: type[Parameters], regions: bool = False) -> Callable[[StepFunction], CustomStep]:
    """Decorate a function `(image, params) → image | list of images` to make it a step.

    `image` is an `H×W×3 uint8` array in BGR order and must not be changed in place. With `regions`, the function's
    third argument are the image's regions. It may return a `StepOutput` instead of an array, with regions that it
    found.
    """
    _check_name(name)
    return lambda function: CustomStep(name, params, function, regions)


def group_step(name: str, *, params: type[Parameters]) -> Callable[[StepFunction], CustomStep]:
    """Decorate a function `(images, params) → image | list of images | {name: bytes}` to make it a group step.

    `images` is an iterator of `GroupImage`s: the results of the images of a group, in the order of their names. What
    it returns are the results of the group: `H×W×3 uint8` arrays in BGR order, which are written in the job's format,
    or files as they are, by their names. It raises `ImageError` to refuse the group.
    """
    _check_name(name)
    return lambda function: CustomStep(name, params, function, takes_group=True)


_broken_custom: dict[str, str] = {}


@cache
def custom_steps() -> dict[str, CustomStep]:
    """Return the steps of all installed packages, by name, without those that are broken or that two packages have."""
    _broken_custom.clear()
    found: dict[str, CustomStep] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = _load(entry)
        except StepError as error:
            _broken_custom[entry.name] = error.message
            continue
        if found.setdefault(loaded.name, loaded) != loaded:
            _broken_custom[loaded.name] = f"two packages provide the step {loaded.name!r}; uninstall one of them"
    return {name: loaded for name, loaded in found.items() if name not in _broken_custom}


def _load(entry: EntryPoint) -> CustomStep:
    try:
        loaded = entry.load()
        if isinstance(loaded, CustomStep):
            loaded.params.model_json_schema()
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise StepError("broken_step", f"step {entry.name} = {entry.value} cannot be loaded: {text}") from error
    if not isinstance(loaded, CustomStep):
        raise StepError(
            "broken_step", f"entry point {entry.name} = {entry.value} is not a step; decorate it with @step"
        )
    return loaded


_declared: dict[str, type[Parameters]] = {}
_declared_group_steps: set[str] = set()
"""Both set once, when a process starts."""
_broken_declared: dict[str, str] = {}


def declare_steps(steps: Mapping[str, DeclaredStep]) -> None:
    """Replace the declared steps, by name."""
    _declared.clear()
    _declared_group_steps.clear()
    _broken_declared.clear()
    for name, declared in steps.items():
        try:
            _check_name(name)
            _declared[name] = declare_parameters(declared.params)
        except ValueError as error:
            _broken_declared[name] = f"declared step {name}: {error}"
        else:
            if declared.group:
                _declared_group_steps.add(name)


def broken_steps() -> dict[str, str]:
    """Return why steps cannot be used, by name: custom ones that cannot be loaded, and wrongly declared ones."""
    custom_steps()
    return _broken_declared | _broken_custom


def log_broken_steps() -> None:
    """Log why steps cannot be used."""
    for name, reason in broken_steps().items():
        log.error("step %s is switched off: %s", name, reason)


def declared_steps() -> frozenset[str]:
    """Return the names of the steps that no installed package provides; external programs run them."""
    return frozenset(_declared).difference(custom_steps())


_disabled: set[str] = set()
"""Set once, when a coordinator starts."""


def disable_steps(names: Iterable[str]) -> None:
    """Replace the disabled steps: no worker is meant to serve them, so new jobs cannot name them. Raises StepError."""
    given = {name for name in names if name}
    if "encode" in given:
        raise StepError(
            "invalid_settings", "PENSTOCK_DISABLED_STEPS: encode cannot be disabled, every job ends with it"
        )
    _disabled.clear()
    _disabled.update(given)


def disabled_steps() -> frozenset[str]:
    """Return the names of the disabled steps, whether they are known or not."""
    return frozenset(_disabled)


def operations() -> dict[str, type[Parameters]]:
    """Return the parameter models of all operations by name: built-in, declared, then custom ones; disabled ones, too.

    A custom step replaces a declared one of the same name.
    """
    return {**BUILT_IN, **_declared, **{name: custom.params for name, custom in custom_steps().items()}}


def group_steps() -> frozenset[str]:
    """Return the names of the operations that run on the results of a group of images, not on one image."""
    custom = custom_steps()
    declared = _declared_group_steps.difference(custom)
    return BUILT_IN_GROUP_STEPS | declared | {name for name, each in custom.items() if each.takes_group}


def all_queues() -> list[str]:
    """Return the names of the queues that a coordinator uses."""
    return [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *map(step_queue, operations())]


def all_operations() -> dict[str, type[Parameters]]:
    """Return the parameter models of all that a job may name: `decode`, the steps of `operations`, and `gather`."""
    return {DECODE: Decode, **operations(), GATHER: Gather}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise ValueError(f"{name!r} is not a step name; accepted are up to 40 of a-z, 0-9 and -, a letter first")
    if name in BUILT_IN or name in (DECODE, GATHER):
        raise ValueError(f"{name!r} is a built-in operation; rename the step")
