"""Plan: a job's operations after validation."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

from pydantic import ValidationError

from penstock.common.model.errors import PlanError
from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, JobDocument
from penstock.common.model.operations import BUILT_IN, DECODE, PIXELS_ALONE, Decode, Encode, Parameters, Resize
from penstock.common.model.parameters import COLOR_PATTERN
from penstock.common.model.result_names import PARTS, SINGLE, ResultNames
from penstock.common.registry import all_operations, disabled_steps
from penstock.common.settings import Limits


@dataclass(frozen=True)
class Planned:
    """One operation of a plan: its step and parameters."""

    step: str
    params: Parameters

    def document(self) -> dict[str, Any]:
        """Return the long form: `{"op": "resize", "width": 200, "height": 300}`."""
        return {"op": self.step, **self.params.document()}


@dataclass(frozen=True)
class Plan:
    """Validated operations in the user's order, `encode` last, and how the image's file is read before them."""

    operations: tuple[Planned, ...]
    decode: Decode = field(default_factory=Decode)

    @property
    def decoding(self) -> Planned:
        """The operation before the first step, with what it has to know of the others."""
        first = self.operations[0].params
        scaled = self.decode.mode == "scaled" and isinstance(first, Resize)
        known: dict[str, Any] = {"target": first if scaled else None}
        if not all(planned.params.supports_16_bit for planned in self.operations):
            known["depth"] = "8"
        return Planned(DECODE, self.decode.model_copy(update=known))

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
    def parts(self) -> int | None:
        """Results per image, as calculated from the parameters; a custom step may make more or fewer.

        None: they depend on the image's size.
        """
        parts = [planned.params.parts for planned in self.operations]
        return None if None in parts else prod(each or 1 for each in parts)

    def result_names(self, template: str | None) -> ResultNames:
        """Return how results are named: by a template, or if it is None by the usual one for the number of parts.

        Raises:
            PlanError: the template gives all parts of an image the same name.
        """
        may_add_parts = any(type(planned.params) not in BUILT_IN.values() for planned in self.operations)
        if template is None:
            return ResultNames(SINGLE if self.parts == 1 else PARTS, may_add_parts)
        if self.parts != 1 and "{part}" not in template:
            message = f"names: {template} has no {{part}}, but an image has {self.parts or 'several'} results"
            raise PlanError("invalid_names", message, "/names")
        return ResultNames(template, may_add_parts)

    def document(self) -> list[dict[str, Any]]:
        """Return the long form of every operation, as used in messages and the database.

        `decode` comes first, unless images are read as version 0.1.0 read them: its workers do not know the operation,
        and its jobs do not have it.
        """
        return self._document(without=PIXELS_ALONE)

    def canonical(self) -> list[dict[str, Any]]:
        """Return the long form as people see it: `decode` comes first, unless all its parameters are the defaults."""
        return self._document(without=Decode())

    def _document(self, without: Decode) -> list[dict[str, Any]]:
        decode = [] if self.decode == without else [Planned(DECODE, self.decode).document()]
        return decode + [planned.document() for planned in self.operations]


def read_operation(raw: object, pointer: str) -> Planned:
    """Parse one operation in its short (`["resize", "200x300"]`) or long form (`{"op": "resize", …}`).

    Raises:
        PlanError: not an operation, an unknown one, or parameters that are not accepted.
    """
    known = all_operations()
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
    if isinstance(name, str) and name not in known:
        check_enabled(name, pointer)
    if not isinstance(name, str) or name not in known:
        accepted = ", ".join(known)
        raise PlanError("unknown_operation", f"no operation {str(name)[:60]!r}; accepted are {accepted}", pointer)
    try:
        return Planned(name, known[name].from_short(value))
    except ValidationError as error:
        raise PlanError("invalid_parameter", _describe(error, name, known[name]), pointer) from error
    except ValueError as error:
        raise PlanError("invalid_parameter", f"{name}: {error}", pointer) from error


def _describe(error: ValidationError, name: str, model: type[Parameters]) -> str:
    """Return the first error of an operation's parameters in one line."""
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        accepted = ", ".join(model.model_json_schema().get("properties", {}))
        return f"{name} has no parameter {str(first['loc'][0])[:40]!r}; accepted are {accepted}"
    field = ".".join(str(part) for part in first["loc"] if "-" not in str(part))  # no types of unions
    given = json.dumps(first["input"], default=str, ensure_ascii=False)[:60]
    message = "accepted is #rrggbb" if first.get("ctx", {}).get("pattern") == COLOR_PATTERN else first["msg"]
    return f"{f'{name} {field}'.strip()}: {message}, but {given} was given"


def make_plan(raw: object, output: Encode | None, limits: Limits, decode: Decode | None = None) -> Plan:
    """Parse a job's operations and check every limit that can be checked without an image.

    Args:
        raw: the job document's `operations`.
        output: how to write results; `None` for an `encode` at the end of `raw`, or the default.
        limits: the limits to check.
        decode: how to read images; `None` for a `decode` at the start of `raw`, or the default.

    Raises:
        PlanError: with a pointer to the operation that is refused.
    """
    if not isinstance(raw, list):
        shown = json.dumps(raw, default=str)[:60]
        raise PlanError("invalid_operations", f"{shown} is not a list of operations", "/operations")
    if len(raw) > limits.max_operations:
        raise PlanError(
            "too_many_operations", f"{len(raw)} operations; {limits.accepted('max_operations')}", "/operations"
        )
    planned: list[Planned | None] = [read_operation(item, f"/operations/{index}") for index, item in enumerate(raw)]
    _check_enabled(planned)
    given_decode = _take_end(planned, 0, Decode, "decode_not_first", "decode can only be the first operation")
    given_encode = _take_end(planned, len(raw) - 1, Encode, "encode_not_last", "encode can only be the last operation")
    for given, option, name, index in (
        (given_decode, decode, "decode and the job's own options for it", 0),
        (given_encode, output, "encode and output", len(raw) - 1),
    ):
        if given is not None and option is not None and given != option:
            code = "two_outputs" if isinstance(given, Encode) else "two_decodes"
            raise PlanError(code, f"{name} differ; give one of them", f"/operations/{index}")
    steps = [operation for operation in planned if operation is not None]
    _check_sizes(planned, limits)
    kept = [operation for operation in steps if not operation.params.does_nothing]
    encode = given_encode or output or Encode()
    plan = Plan((*kept, Planned("encode", encode)), given_decode or decode or Decode())
    _check_alpha(plan)
    return plan


def make_job_plan(document: JobDocument, limits: Limits, decode: Decode | None = None) -> Plan:
    """Return the plan of a job document; `decode` has the defaults for what it does not say about reading images.

    Raises:
        PlanError: as `make_plan`.
    """
    encoding = {field: getattr(document, name) for name, field in ENCODE_OPTIONS.items()}
    encoding = {field: value for field, value in encoding.items() if value is not None}
    decoding = {field: getattr(document, name) for name, field in DECODE_OPTIONS.items()}
    decoding = {field: value for field, value in decoding.items() if value is not None}
    if decode is not None:
        decoding = decode.document() | decoding
    return make_plan(
        document.operations,
        Encode.model_validate(encoding) if encoding else None,
        limits,
        Decode.model_validate(decoding) if decoding else None,
    )


P = TypeVar("P", bound=Parameters)


def _take_end(planned: list[Planned | None], at: int, kind: type[P], code: str, message: str) -> P | None:
    """Return the parameters of a kind at an index, and replace the operation by None; refuse others of the kind."""
    taken = None
    for index, operation in enumerate(planned):
        if operation is None or not isinstance(operation.params, kind):
            continue
        if index != at:
            raise PlanError(code, message, f"/operations/{index}")
        taken = operation.params
        planned[index] = None
    return taken


def _check_enabled(planned: Iterable[Planned | None]) -> None:
    for index, operation in enumerate(planned):
        if operation is not None and not operation.params.does_nothing:
            check_enabled(operation.step, f"/operations/{index}")


def check_enabled(step: str, pointer: str | None = None) -> None:
    """Raise PlanError if a step is disabled."""
    if step not in disabled_steps():
        return
    raise PlanError(
        "operation_disabled",
        f"{step} is disabled on this server; its operator enables it with steps.{step}.enabled=true in the chart's"
        " values, or without it in PENSTOCK_DISABLED_STEPS",
        pointer,
    )


def _check_alpha(plan: Plan) -> None:
    if plan.decode.alpha != "keep":
        return
    for index, operation in enumerate(plan.operations):
        if not operation.params.supports_alpha:
            name = f"output {plan.encode.format}" if isinstance(operation.params, Encode) else operation.step
            message = f"alpha keep: {name} has no transparency; accepted are flatten and drop"
            raise PlanError("invalid_parameter", message, f"/operations/{index}")


def _check_sizes(planned: Iterable[Planned | None], limits: Limits) -> None:
    parts = 1
    for index, operation in enumerate(planned):
        if operation is None:
            continue
        pointer = f"/operations/{index}"
        parts *= operation.params.parts or 1  # where that depends on the image, it is checked before the step runs
        if parts > limits.max_parts:
            raise PlanError("too_many_parts", f"{parts} parts per image; {limits.accepted('max_parts')}", pointer)
        if isinstance(operation.params, Resize) and operation.params.fixed_size is not None:
            width, height = operation.params.fixed_size
            if parts * width * height > limits.max_pixels:
                raise PlanError(
                    "too_many_pixels",
                    f"resize to {width}x{height} makes {parts * width * height} pixels per image; "
                    f"{limits.accepted('max_pixels')}",
                    pointer,
                )


def plan_of(document: Sequence[dict[str, Any]]) -> Plan:
    """Return the plan of a message or database row, which was validated when the job was accepted."""
    return _plan_of(json.dumps(document))


@lru_cache(maxsize=256)
def _plan_of(text: str) -> Plan:
    planned = [read_operation(item, f"/plan/{index}") for index, item in enumerate(json.loads(text))]
    if isinstance(planned[0].params, Decode):
        return Plan((*planned[1:],), planned[0].params)
    return Plan((*planned,), PIXELS_ALONE)
