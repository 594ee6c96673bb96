"""Plan: a job's operations after validation."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from penstock.common.model.errors import PlanError
from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, JobDocument, Output
from penstock.common.model.operations import (
    BUILT_IN,
    DECODE,
    GATHER,
    PIXELS_ALONE,
    Decode,
    Encode,
    Gather,
    Parameters,
    Resize,
)
from penstock.common.model.result_names import PARTS, SINGLE, ResultNames
from penstock.common.registry import all_operations, broken_steps, disabled_steps, group_steps
from penstock.common.settings import Limits
from penstock.common.wording.faults import first_fault, show
from penstock.common.wording.suggestions import accepted_names

OUTPUTS = "outputs"
"""Stands before the operations of a plan with several outputs, and says whose they are. Workers of earlier versions do
not know it and refuse such a plan."""
NO_STEPS = frozenset((DECODE, OUTPUTS, GATHER))
"""Operations of a plan in its long form that are no steps. Before those of a plan with groups stands one called
`gather`, which says how many of the operations that follow are the groups'. It is refused like `outputs`."""
GROUP_IDS = 1 << 30
"""Ids of images are below; from here on, they are those of groups."""
_GROUP_OPERATIONS = 2
"""The operations of a group: its step, and `encode`."""


class Branch(NamedTuple):
    """One of several outputs: its name, and the indexes of its operations in the plan, from `start` to before `end`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Layout:
    """Which of a plan's operations each image passes: `branches` follow the shared operations, if there are several.

    With several outputs, an image of the job is one output of a source. Its id is `source * count + output`.

    With groups, the operations in `gather` follow the `size` operations of the images; `by` is as in `Gather`. Groups
    are images of the job with ids from `GROUP_IDS` on.
    """

    size: int
    branches: tuple[Branch, ...] = ()
    gather: Branch | None = None
    by: str = ""

    @classmethod
    def of(cls, document: Sequence[dict[str, Any]]) -> Self:
        """Return the layout of a plan in its long form; raises ValueError if its outputs and operations differ."""
        size = sum(operation["op"] not in NO_STEPS for operation in document)
        first = document[0]["op"] if document else None
        if first == GATHER:
            gather = Branch(GATHER, size - document[0]["operations"], size)
            if not 0 < gather.start < size:
                raise ValueError(f"{document[0]} does not fit {size} operations")
            return cls(gather.start, gather=gather, by=document[0]["by"])
        if first != OUTPUTS:
            return cls(size)
        counts = [(output["name"], output["operations"]) for output in document[0]["outputs"]]
        branches = _branches(counts, size - sum(count for _, count in counts))
        if not branches or branches[0].start < 0 or any(branch.start >= branch.end for branch in branches):
            raise ValueError(f"{counts} are not the outputs of {size} operations")
        return cls(size, branches)

    @property
    def count(self) -> int:
        """How many images of the job each source is."""
        return len(self.branches) or 1

    @property
    def fork(self) -> int:
        """How many operations all images pass; in a plan with several outputs, the index of the first branch."""
        return self.branches[0].start if self.branches else self.size

    def is_group(self, image: int) -> bool:
        """Return whether an image of the job is a group of others."""
        return self.gather is not None and image >= GROUP_IDS

    def source(self, image: int) -> int:
        """Return which source an image is of."""
        return image // self.count

    def branch(self, image: int) -> Branch | None:
        """Return the output that an image is, or `gather` for a group; None for the image of a plan with one output."""
        if self.is_group(image):
            return self.gather
        return self.branches[image % self.count] if self.branches else None

    def first(self, image: int) -> int:
        """Return the index of the first operation that an image passes."""
        branch = self.branch(image)
        return branch.start if branch and (self.fork == 0 or branch is self.gather) else 0

    def path(self, image: int) -> Iterable[int]:
        """Return the indexes of all operations that an image passes."""
        branch = self.branch(image)
        if branch is None or branch is self.gather:
            return range(self.size) if branch is None else range(branch.start, branch.end)
        return (*range(self.fork), *range(branch.start, branch.end))

    def branch_at(self, index: int) -> Branch | None:
        """Return the output whose operation has an index, or `gather`; None for a shared one."""
        branches = (*self.branches, self.gather) if self.gather else self.branches
        return next((branch for branch in branches if branch.start <= index < branch.end), None)

    def document(self) -> dict[str, Any]:
        """Return what stands before the operations of a plan with several outputs, or with groups."""
        if self.gather is not None:
            return {"op": GATHER, "by": self.by, "operations": self.gather.end - self.gather.start}
        outputs = [{"name": branch.name, "operations": branch.end - branch.start} for branch in self.branches]
        return {"op": OUTPUTS, "outputs": outputs}


def split_operations(document: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Return the shared operations of a plan in its long form, `decode` included, and those of each of its outputs.

    The step of groups is in `gather`, as jobs name it.
    """
    layout = Layout.of(document)
    operations = [operation for operation in document if operation["op"] not in (OUTPUTS, GATHER)]
    before = sum(operation["op"] == DECODE for operation in operations[:1])
    own = [operations[before + branch.start : before + branch.end] for branch in layout.branches]
    shared = operations[: before + layout.fork]
    if layout.gather is not None:
        params = dict(operations[before + layout.gather.start])
        shared.append({"op": GATHER, "by": layout.by, "step": params.pop("op"), "params": params})
    return shared, own


def _branches(counts: Iterable[tuple[str, int]], start: int) -> tuple[Branch, ...]:
    """Return the branches with these names and numbers of operations, one after the other."""
    branches = []
    for name, count in counts:
        branches.append(Branch(name, start, start + count))
        start += count
    return tuple(branches)


@dataclass(frozen=True)
class Planned:
    """One operation of a plan: its step and parameters."""

    step: str
    params: Parameters
    pointer: str | None = field(default=None, compare=False)
    """Where it is in the document that a user sent (RFC 6901)."""

    def document(self) -> dict[str, Any]:
        """Return the long form: `{"op": "resize", "width": 200, "height": 300}`."""
        return {"op": self.step, **self.params.document()}


@dataclass(frozen=True)
class Plan:
    """Validated operations in the user's order, `encode` last, and how the image's file is read before them.

    With several outputs, the shared operations come first, then those of each output, each with its own `encode`. With
    groups, theirs come last: a step and an `encode`.
    """

    operations: tuple[Planned, ...]
    decode: Decode = field(default_factory=Decode)
    branches: tuple[Branch, ...] = ()
    by: str = ""
    """What puts images into a group, see `Gather.by`; empty without groups. Their operations are the last two."""

    @cached_property
    def layout(self) -> Layout:
        """Which operations each image passes."""
        size = len(self.image_operations)
        gather = Branch(GATHER, size, len(self.operations)) if self.by else None
        return Layout(size, self.branches, gather, self.by)

    @property
    def image_operations(self) -> tuple[Planned, ...]:
        """The operations of images, without those of groups."""
        return self.operations[:-_GROUP_OPERATIONS] if self.by else self.operations

    @property
    def without_groups(self) -> "Plan":
        """The plan of the images alone."""
        return Plan(self.image_operations, self.decode, self.branches)

    @property
    def outputs(self) -> tuple["Plan", ...]:
        """The plan of each output alone; itself if it has one."""
        shared = self.operations[: self.layout.fork]
        outputs = (Plan((*shared, *self.operations[start:end]), self.decode) for _, start, end in self.branches)
        return tuple(outputs) or (self,)

    @property
    def decoding(self) -> Planned:
        """The operation before the first step, with what it has to know of the others."""
        first = self.operations[0].params if self.layout.fork else None
        scaled = self.decode.mode == "scaled" and isinstance(first, Resize)
        known: dict[str, Any] = {"target": first if scaled else None}
        if not all(planned.params.supports_16_bit for planned in self.image_operations):
            known["depth"] = "8"
        return Planned(DECODE, self.decode.model_copy(update=known))

    @property
    def reading_step(self) -> str:
        """What an image fails in if its file cannot be read: `decode`; in plans of version 0.1.0 the first step."""
        return self.steps[0] if self.decode == PIXELS_ALONE else DECODE

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The step of each operation; a step may occur more than once."""
        return tuple(planned.step for planned in self.operations)

    @property
    def encode(self) -> Encode:
        """The parameters of `encode`, the last operation; of a plan with several outputs, that of the last one."""
        params = self.operations[-1].params
        assert isinstance(params, Encode)
        return params

    @property
    def last_steps(self) -> tuple[str, ...]:
        """The last step of each output, and of groups, which is `encode` in a plan that was validated."""
        ends = [self.image_operations[-1].step] if self.by else []
        return (*ends, *(output.steps[-1] for output in self.outputs))

    @property
    def parts(self) -> int | None:
        """Results per image, as calculated from the parameters; a custom step may make more or fewer. Not of groups.

        With several outputs, those of all of them. None: they depend on the image's size.
        """
        if self.branches:
            made = [output.parts for output in self.outputs]
            return None if None in made else sum(each or 0 for each in made)
        parts = [planned.params.parts for planned in self.image_operations]
        return None if None in parts else prod(each or 1 for each in parts)

    def result_names(self, template: str | None) -> ResultNames:
        """Return how results are named: by a template, or if it is None by the usual one for the number of parts.

        Raises:
            PlanError: the template gives all parts of an image the same name.
        """
        may_add_parts = any(type(planned.params) not in BUILT_IN.values() for planned in self.image_operations)
        if self.branches or self.by:  # whose images and groups may have one result, or several
            may_add_parts = may_add_parts or any(output.parts != 1 for output in self.outputs)
            return ResultNames(SINGLE if template is None else template, may_add_parts)
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
        layout = [self.layout.document()] if self.branches or self.by else []
        decode = [] if self.decode == without else [Planned(DECODE, self.decode).document()]
        return layout + decode + [planned.document() for planned in self.operations]


def read_operation(raw: object, pointer: str, *, is_own: bool = False) -> Planned:
    """Parse one operation in its short (`["resize", "200x300"]`) or long form (`{"op": "resize", …}`).

    Args:
        raw: the operation, as parsed JSON.
        pointer: where it is in its document.
        is_own: whether a plan of Penstock's has it, and not a user's document.

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
        raise PlanError("invalid_operation", f'{show(raw)} is not an operation; accepted is ["name", value]', pointer)
    if isinstance(name, str) and name not in known:
        check_enabled(name, pointer)
    if isinstance(raw, dict) and name is None:
        raise PlanError("unknown_operation", f'{show(raw)} has no "op"; {accepted_names(name, [*known])}', pointer)
    if not isinstance(name, str) or name not in known:
        raise PlanError("unknown_operation", f"no operation {show(name)}; {accepted_names(name, [*known])}", pointer)
    model = known[name]
    try:
        params = model.from_short(value)
    except ValueError as error:  # pydantic's, too
        raise PlanError("invalid_parameter", _describe(error, name, model, value), pointer) from error
    internal = params.model_fields_set & model.internal
    if internal and not is_own:
        raise PlanError("invalid_parameter", _no_parameter(name, model, min(internal)), pointer)
    return Planned(name, params, pointer)


def _describe(error: ValueError, name: str, model: type[Parameters], value: object) -> str:
    """Return the first error of an operation's parameters in one line."""
    if model.needs and (value is True or value == {}):
        return f"{name} needs {model.needs}"
    if not isinstance(error, ValidationError):
        return f"{name}: {error}"
    fault = first_fault(error)
    if fault.type == "extra_forbidden":
        return _no_parameter(name, model, fault.path[0])
    if fault.type == "missing":
        return f"{name} needs {'.'.join(fault.path)}"
    return f"{' '.join((name, '.'.join(fault.path))).strip()}: {fault.text}"


def _no_parameter(name: str, model: type[Parameters], given: str) -> str:
    accepted = model.model_json_schema().get("properties", {})
    return f"{name} has no parameter {show(given)}; {accepted_names(given, [*accepted])}"


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
    planned = _read_operations(raw, "/operations", limits)
    gather = _take_end(planned, len(planned) - 1, Gather, "gather_not_last", "gather can only be the last operation")
    group_step = None
    if gather is not None:
        planned.pop()
        group_step = _read_group_step(gather, f"/operations/{len(planned)}")
    given_decode = _take_end(planned, 0, Decode, "decode_not_first", "decode can only be the first operation")
    encode = _take_encode(planned, output, "")
    _check_sizes(planned, limits)
    groups = [group_step, Planned("encode", encode.params)] if group_step else []
    by = gather.by if gather else ""
    plan = Plan((*_kept(planned), encode, *groups), _choose_decode(given_decode, decode), by=by)
    _check_alpha(plan, "/operations/0" if given_decode else "/alpha")
    return plan


def _make_branched_plan(
    raw: list[Any], outputs: Sequence[Output], encodings: Sequence[Encode | None], limits: Limits, decode: Decode | None
) -> Plan:
    """Return the plan of a job with several outputs, each of which has an encoding; raises PlanError as `make_plan`."""
    shared = _read_operations(raw, "/operations", limits)
    given_decode = _take_end(shared, 0, Decode, "decode_not_first", "decode can only be the first operation")
    _take_end(shared, -1, Encode, "encode_not_last", "encode can only be the last operation of an output")
    _refuse_gather(shared)
    operations, counts, parts = [*_kept(shared)], [], 0
    names: set[str] = set()
    for index, (output, encoding) in enumerate(zip(outputs, encodings, strict=True)):
        pointer = f"/outputs/{index}"
        if output.name.lower() in names:
            message = f"two outputs are called {output.name!r}, in upper or lower case; give each a name of its own"
            raise PlanError("equal_names", message, f"{pointer}/name")
        names.add(output.name.lower())
        planned = _read_operations(output.operations, f"{pointer}/operations", limits)
        _refuse_gather(planned)
        _take_end(planned, -1, Decode, "decode_not_first", "decode can only be the first of the shared operations")
        encode = _take_encode(planned, encoding, pointer)
        parts += _check_sizes([*shared, *planned], limits)
        if parts > limits.max_parts:
            message = f"{parts} parts per image in all outputs; {limits.accepted('max_parts')}"
            raise PlanError("too_many_parts", message, pointer)
        own = [*_kept(planned), encode]
        operations += own
        counts.append((output.name, len(own)))
    given = len(raw) + sum(len(output.operations) for output in outputs)
    if given > limits.max_operations:
        message = f"{given} operations in all outputs; {limits.accepted('max_operations')}"
        raise PlanError("too_many_operations", message, "/outputs")
    branches = _branches(counts, len(operations) - sum(count for _, count in counts))
    plan = Plan(tuple(operations), _choose_decode(given_decode, decode), branches)
    _check_alpha(plan, "/operations/0" if given_decode else "/alpha")
    return plan


def _refuse_gather(planned: list[Planned | None]) -> None:
    _take_end(planned, len(planned), Gather, "gather_with_outputs", "a job with several outputs cannot gather images")


def _read_group_step(gather: Gather, pointer: str) -> Planned:
    """Return the operation of groups; `pointer` is where `gather` is. Raises PlanError as `read_operation`."""
    check_enabled(gather.step, pointer)
    if gather.step not in group_steps():
        accepted = accepted_names(gather.step, sorted(group_steps()))
        raise PlanError("no_group_step", f"{show(gather.step)} is no step for groups; {accepted}", pointer)
    return read_operation([gather.step, gather.params or True], pointer)


def _read_operations(raw: object, pointer: str, limits: Limits) -> list[Planned | None]:
    """Read a list of operations at a place of the document; raises PlanError as `make_plan`."""
    if not isinstance(raw, list):
        raise PlanError("invalid_operations", f"{show(raw)} is not a list of operations", pointer)
    if len(raw) > limits.max_operations:
        message = f"{len(raw)} operations; {limits.accepted('max_operations')}"
        raise PlanError("too_many_operations", message, pointer)
    planned: list[Planned | None] = [read_operation(item, f"{pointer}/{index}") for index, item in enumerate(raw)]
    for operation in planned:
        if operation is not None and operation.step in group_steps():
            message = f'{operation.step} is a step for groups; accepted is ["gather", "folder:{operation.step}"]'
            raise PlanError("group_step", message, operation.pointer)
        if operation is not None and not operation.params.does_nothing:
            check_enabled(operation.step, operation.pointer)
    return planned


def _take_encode(planned: list[Planned | None], output: Encode | None, pointer: str) -> Planned:
    """Take the `encode` at the end of a list of operations, or else make one of the document's options, or of none."""
    at = len(planned) - 1
    message = "encode can only be the last operation"
    given = _take_end(planned, at, Encode, "encode_not_last", message)
    if given is not None and output is not None and given != output:
        message = "encode and output differ; give one of them"
        raise PlanError("two_outputs", message, f"{pointer}/operations/{at}")
    where = f"{pointer}/operations/{at}" if given else f"{pointer}/output" if output else None
    return Planned("encode", given or output or Encode(), where)


def _choose_decode(given: Decode | None, option: Decode | None) -> Decode:
    """Return how images are read: by the first operation, or the document's options, or the default."""
    if given is not None and option is not None and given != option:
        message = "decode and the job's own options for it differ; give one of them"
        raise PlanError("two_decodes", message, "/operations/0")
    return given or option or Decode()


def _kept(planned: Iterable[Planned | None]) -> Iterable[Planned]:
    """Yield the operations that do something."""
    return (operation for operation in planned if operation is not None and not operation.params.does_nothing)


def make_job_plan(document: JobDocument, limits: Limits, decode: Decode | None = None) -> Plan:
    """Return the plan of a job document; `decode` has the defaults for what it does not say about reading images.

    Raises:
        PlanError: as `make_plan`.
    """
    encodings = [
        {field: getattr(each, name) for name, field in ENCODE_OPTIONS.items() if getattr(each, name) is not None}
        for each in (document, *document.outputs)
    ]
    decoding = {field: getattr(document, name) for name, field in DECODE_OPTIONS.items()}
    decoding = {field: value for field, value in decoding.items() if value is not None}
    if decode is not None:
        decoding = decode.document() | decoding
    reading = Decode.model_validate(decoding) if decoding else None
    usual, *others = encodings
    if not document.outputs:
        return make_plan(document.operations, Encode.model_validate(usual) if usual else None, limits, reading)
    encoded = [Encode.model_validate(usual | other) if usual or other else None for other in others]
    return _make_branched_plan(document.operations, document.outputs, encoded, limits, reading)


P = TypeVar("P", bound=Parameters)


def _take_end(planned: list[Planned | None], at: int, kind: type[P], code: str, message: str) -> P | None:
    """Return the parameters of a kind at an index, and replace the operation by None; refuse others of the kind."""
    taken = None
    for index, operation in enumerate(planned):
        if operation is None or not isinstance(operation.params, kind):
            continue
        if index != at:
            raise PlanError(code, message, operation.pointer)
        taken = operation.params
        planned[index] = None
    return taken


def check_enabled(step: str, pointer: str | None = None) -> None:
    """Raise PlanError if a step is disabled, or broken."""
    if step in broken_steps() and step not in all_operations():
        reason = broken_steps()[step]
        raise PlanError("operation_disabled", f"{step} is switched off: {reason}", pointer)
    if step not in disabled_steps():
        return
    raise PlanError(
        "operation_disabled",
        f"{step} is disabled on this server; its operator enables it with steps.{step}.enabled=true in the chart's"
        " values, or without it in PENSTOCK_DISABLED_STEPS",
        pointer,
    )


def _check_alpha(plan: Plan, pointer: str) -> None:
    """Raise PlanError if alpha is kept for an operation that has none; `pointer` is where the job keeps it."""
    if plan.decode.alpha != "keep":
        return
    for operation in plan.image_operations:
        if not operation.params.supports_alpha:
            params = operation.params
            name = f"output {params.format}" if isinstance(params, Encode) else operation.step
            message = f"alpha keep: {name} has no transparency; accepted are flatten and drop"
            raise PlanError("invalid_parameter", message, operation.pointer or pointer)


def _check_sizes(planned: Iterable[Planned | None], limits: Limits) -> int:
    """Raise PlanError if that makes too many parts or pixels; return the number of parts, as far as it is known."""
    parts = 1
    for operation in planned:
        if operation is None:
            continue
        pointer = operation.pointer
        parts *= operation.params.parts or 1  # where that depends on the image, it is checked before the step runs
        if parts > limits.max_parts:
            raise PlanError("too_many_parts", f"{parts} parts per image; {limits.accepted('max_parts')}", pointer)
        if isinstance(operation.params, Resize) and operation.params.fixed_size is not None:
            width, height = operation.params.fixed_size
            if max(width, height) > limits.max_side:
                accepted = f"accepted are sides of up to {limits.max_side} (PENSTOCK_MAX_SIDE)"
                raise PlanError("too_many_pixels", f"resize to {width}x{height}; {accepted}", pointer)
            if parts * width * height > limits.max_pixels:
                raise PlanError(
                    "too_many_pixels",
                    f"resize to {width}x{height} makes {parts * width * height} pixels per image; "
                    f"{limits.accepted('max_pixels')}",
                    pointer,
                )
    return parts


def plan_of(document: Sequence[dict[str, Any]]) -> Plan:
    """Return the plan of a message or database row, which was validated when the job was accepted."""
    return _plan_of(json.dumps(document))


@lru_cache(maxsize=256)
def _plan_of(text: str) -> Plan:
    documents = json.loads(text)
    try:
        layout = Layout.of(documents)
    except (LookupError, TypeError, ValueError) as error:
        raise PlanError("invalid_operations", f"a plan whose outputs cannot be read: {error}", "/plan/0") from error
    branches, by = layout.branches, layout.by
    start = 1 if branches or by else 0
    planned = [read_operation(item, f"/plan/{at}", is_own=True) for at, item in enumerate(documents[start:], start)]
    if isinstance(planned[0].params, Decode):
        return Plan((*planned[1:],), planned[0].params, branches, by)
    return Plan((*planned,), PIXELS_ALONE, branches, by)
