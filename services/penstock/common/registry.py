"""Registry of steps: built-in ones, custom ones from installed packages, and declared ones.

A package adds a step with `@step` on a function, and an entry point for it in the group `penstock.steps`. An example is
in `docs/steps.md`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from penstock.common.model.errors import PenstockError
from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.model.operations import BUILT_IN, DECODE, Decode, Parameters
from penstock.common.model.schema_parameters import declare_parameters

ENTRY_POINT_GROUP = "penstock.steps"

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

    def __call__(self, image: Any, params: Any, *regions: Any) -> Any:
        return self.function(image, params, *regions)


def step(name: str, *, params: type[Parameters], regions: bool = False) -> Callable[[StepFunction], CustomStep]:
    """Decorate a function `(image, params) → image | list of images` to make it a step.

    `image` is an `H×W×3 uint8` array in BGR order and must not be changed in place. With `regions`, the function's
    third argument are the image's regions. It may return a `StepOutput` instead of an array, with regions that it
    found.
    """
    _check_name(name)
    return lambda function: CustomStep(name, params, function, regions)


@cache
def custom_steps() -> dict[str, CustomStep]:
    """Return the steps of all installed packages, by name. Raises StepError if one is broken or two share a name."""
    found: dict[str, CustomStep] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        loaded = _load(entry)
        if loaded.name in found and found[loaded.name] != loaded:
            raise StepError("broken_step", f"two packages provide the step {loaded.name!r}; uninstall one of them")
        found[loaded.name] = loaded
    return found


def _load(entry: EntryPoint) -> CustomStep:
    try:
        loaded = entry.load()
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise StepError("broken_step", f"step {entry.name} = {entry.value} cannot be loaded: {text}") from error
    if not isinstance(loaded, CustomStep):
        raise StepError(
            "broken_step", f"entry point {entry.name} = {entry.value} is not a step; decorate it with @step"
        )
    return loaded


_declared: dict[str, type[Parameters]] = {}
"""Set once, when a process starts."""


def declare_steps(schemas: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the declared steps, each given by its name and the JSON Schema of its parameters. Raises StepError."""
    made: dict[str, type[Parameters]] = {}
    for name, schema in schemas.items():
        try:
            _check_name(name)
            made[name] = declare_parameters(schema)
        except ValueError as error:
            raise StepError("broken_step", f"declared step {name}: {error}") from error
    _declared.clear()
    _declared.update(made)


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


def all_queues() -> list[str]:
    """Return the names of the queues that a coordinator uses."""
    return [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *map(step_queue, operations())]


def all_operations() -> dict[str, type[Parameters]]:
    """Return the parameter models of everything that a job may name: `decode`, then the steps of `operations`."""
    return {DECODE: Decode, **operations()}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise ValueError(f"{name!r} is not a step name; accepted are up to 40 of a-z, 0-9 and -, a letter first")
    if name in BUILT_IN or name == DECODE:
        raise ValueError(f"{name!r} is a built-in operation; rename the step")
