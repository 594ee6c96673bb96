"""Steps of one's own: the decorator that makes them, how installed ones are found, and those that are declared.

    from penstock.common.model.operations import Parameters
    from penstock.common.registry import step

    class Brighten(Parameters):
        amount: int = 10

    @step("brighten", params=Brighten)
    def brighten(image, params):
        return cv2.add(image, params.amount)

with `[project.entry-points."penstock.steps"] brighten = "my_package:brighten"` in the package's `pyproject.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from penstock.common.model.errors import PenstockError
from penstock.common.model.operations import BUILT_IN, Parameters
from penstock.common.model.schema_parameters import declare_parameters

ENTRY_POINT_GROUP = "penstock.steps"

StepFunction = Callable[[Any, Any], Any]
"""`(image, parameters) → image or list of images`; an image is an `H×W×3 uint8` array in BGR order."""


class StepError(PenstockError):
    """A step that an installed package brings cannot be used."""


@dataclass(frozen=True)
class CustomStep:
    """A step that an installed package brings: its name, parameter model and function."""

    name: str
    params: type[Parameters]
    function: StepFunction

    def __call__(self, image: Any, params: Any) -> Any:
        return self.function(image, params)


def step(name: str, *, params: type[Parameters]) -> Callable[[StepFunction], CustomStep]:
    """Make a function `(image, params) → image | list of images` a step that jobs can name.

    `image` is an `H×W×3 uint8` array in BGR order and must not be changed in place.
    """
    _check_name(name)
    return lambda function: CustomStep(name, params, function)


@cache
def custom_steps() -> dict[str, CustomStep]:
    """Return the steps of all installed packages, by name.

    Raises:
        StepError: one cannot be imported, is not what `@step` made, or has the name of another.
    """
    found: dict[str, CustomStep] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        loaded = _load(entry)
        if loaded.name in found and found[loaded.name] != loaded:
            raise StepError("broken_step", f"two packages bring a step {loaded.name!r}; uninstall one of them")
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
            "broken_step", f"entry point {entry.name} = {entry.value} is not a step; accepted is what @step returns"
        )
    return loaded


_declared: dict[str, type[Parameters]] = {}
"""Set once by each process's composition root."""


def declare_steps(schemas: Mapping[str, Mapping[str, Any]]) -> None:
    """Let jobs name these steps, each with the JSON Schema of its parameters; those declared before are forgotten.

    Raises:
        StepError: one has no step's name, or no schema that can be used.
    """
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
    """Return the names of the steps that no installed package brings: programs perform them."""
    return frozenset(_declared).difference(custom_steps())


def operations() -> dict[str, type[Parameters]]:
    """Return every operation's parameter model by name: Penstock's own, installed packages', then declared ones.

    What a package brings goes before what is declared under the same name.
    """
    return {**BUILT_IN, **_declared, **{name: custom.params for name, custom in custom_steps().items()}}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise ValueError(f"{name!r} is not a step name; accepted are up to 40 of a-z, 0-9 and -, a letter first")
    if name in BUILT_IN:
        raise ValueError(f"{name!r} is an operation of Penstock's own; give the step another name")
