"""Plan: a job's operations after validation."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from pydantic import ValidationError

from penstock.common.model.errors import PlanError
from penstock.common.model.operations import Encode, Parameters, Resize
from penstock.common.registry import operations
from penstock.common.settings import Limits


@dataclass(frozen=True)
class Planned:
    """One operation of a plan: its step and parameters."""

    step: str
    params: Parameters

    def document(self) -> dict[str, Any]:
        """Return the long form: `{"op": "resize", "width": 200, "height": 300}`."""
        return {"op": self.step, **self.params.model_dump(mode="json")}


@dataclass(frozen=True)
class Plan:
    """Validated operations in the user's order, `encode` last."""

    operations: tuple[Planned, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """The step of each operation; a step may occur more than once."""
        return tuple(planned.step for planned in self.operations)

    @property
    def encode(self) -> Encode:
        """The parameters of `encode`, the last operation."""
        params = self.operations[-1].params
        assert isinstance(params, Encode)
        return params

    @property
    def parts(self) -> int:
        """Results per image, as calculated from the parameters; a custom step may make more or fewer."""
        return prod(planned.params.parts for planned in self.operations)

    def document(self) -> list[dict[str, Any]]:
        """Return the long form of every operation, as used in messages and the database."""
        return [planned.document() for planned in self.operations]


def read_operation(raw: object, pointer: str) -> Planned:
    """Parse one operation in its short (`["resize", "200x300"]`) or long form (`{"op": "resize", …}`).

    Raises:
        PlanError: not an operation, an unknown one, or parameters that are not accepted.
    """
    known = operations()
    name: object
    value: object
    if isinstance(raw, str):
        raw = [raw, True]
    if isinstance(raw, dict):
        name, value = raw.get("op"), {key: item for key, item in raw.items() if key != "op"}
    elif isinstance(raw, Sequence) and len(raw) in (1, 2):
        name, value = raw[0], raw[1] if len(raw) == 2 else True
    else:
        shown = json.dumps(raw, default=str)[:60]
        raise PlanError("invalid_operation", f'{shown} is not an operation; accepted is ["name", value]', pointer)
    if not isinstance(name, str) or name not in known:
        accepted = ", ".join(known)
        raise PlanError("unknown_operation", f"no operation {str(name)[:60]!r}; accepted are {accepted}", pointer)
    try:
        return Planned(name, known[name].from_short(value))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        given = json.dumps(first["input"], default=str)[:60]
        where = f"{name} {field}".strip()
        raise PlanError("invalid_parameter", f"{where}: {first['msg']}, but {given} was given", pointer) from error
    except ValueError as error:
        raise PlanError("invalid_parameter", f"{name}: {error}", pointer) from error


def make_plan(raw: object, output: Encode | None, limits: Limits) -> Plan:
    """Parse a job's operations and check every limit that can be checked without an image.

    Args:
        raw: the job document's `operations`.
        output: how to write results; `None` for an `encode` at the end of `raw`, or the default.
        limits: the limits to check.

    Raises:
        PlanError: with a pointer to the operation that is refused.
    """
    if not isinstance(raw, list):
        shown = json.dumps(raw, default=str)[:60]
        raise PlanError("invalid_operations", f"{shown} is not a list of operations", "/operations")
    if len(raw) > limits.max_operations:
        raise PlanError(
            "too_many_operations", f"{len(raw)} operations; accepted are up to {limits.max_operations}", "/operations"
        )
    planned = [read_operation(item, f"/operations/{index}") for index, item in enumerate(raw)]
    last = len(planned) - 1
    for index, operation in enumerate(planned):
        if isinstance(operation.params, Encode):
            if index != last:
                raise PlanError("encode_not_last", "encode can only be the last operation", f"/operations/{index}")
            if output is not None and output != operation.params:
                raise PlanError("two_outputs", "encode and output differ; give one of them", f"/operations/{index}")
            output = operation.params
            planned = planned[:-1]
    _check_sizes(planned, limits)
    kept = [operation for operation in planned if not operation.params.does_nothing]
    return Plan((*kept, Planned("encode", output or Encode())))


def _check_sizes(planned: Iterable[Planned], limits: Limits) -> None:
    parts = 1
    for index, operation in enumerate(planned):
        pointer = f"/operations/{index}"
        parts *= operation.params.parts
        if parts > limits.max_parts:
            raise PlanError(
                "too_many_parts", f"{parts} parts per image; accepted are up to {limits.max_parts}", pointer
            )
        if isinstance(operation.params, Resize):
            width, height = operation.params.width, operation.params.height
            if parts * width * height > limits.max_pixels:
                raise PlanError(
                    "too_many_pixels",
                    f"resize to {width}x{height} makes {parts * width * height} pixels per image; "
                    f"accepted are up to {limits.max_pixels}",
                    pointer,
                )


def plan_of(document: Sequence[dict[str, Any]]) -> Plan:
    """Return the plan of a message or database row, which was validated when the job was accepted."""
    return _plan_of(json.dumps(document))


@lru_cache(maxsize=256)
def _plan_of(text: str) -> Plan:
    return Plan(tuple(read_operation(item, f"/plan/{index}") for index, item in enumerate(json.loads(text))))
