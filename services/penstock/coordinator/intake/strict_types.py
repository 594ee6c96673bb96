"""Strict types: in a job document, a number is not taken for true, nor true or a text for a number."""

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import JobDocument
from penstock.common.model.plan import Plan, Planned
from penstock.common.wording.faults import show


def check_types(document: Mapping[str, Any], job: JobDocument, plan: Plan) -> None:
    """Compare a document with the job and the plan that were made of it, which is lenient, as version 0.1.0 was.

    Raises:
        RequestError: 422 with a pointer to the value.
    """
    for name, value in document.items():
        _check(name, value, getattr(job, name), f"/{name}")
    _check_operations(job.operations, plan.image_operations, "/operations")
    if plan.by:
        _check_group_step(job.operations[-1], plan.operations[-2], f"/operations/{len(job.operations) - 1}")
    for index, (output, branch) in enumerate(zip(job.outputs, plan.branches, strict=True)):
        pointer = f"/outputs/{index}"
        for name, value in document["outputs"][index].items():
            _check(name, value, getattr(output, name), f"{pointer}/{name}")
        _check_operations(output.operations, plan.operations[branch.start : branch.end], f"{pointer}/operations")


def _check_group_step(gather: Any, planned: Planned, pointer: str) -> None:
    """Compare the parameters that `gather` gives its step with those that were made of them."""
    given, at = (gather, pointer) if isinstance(gather, dict) else (gather[1], f"{pointer}/1")
    for name, value in given.get("params", {}).items() if isinstance(given, dict) else ():
        _check(f"{planned.step} {name}", value, getattr(planned.params, name), f"{at}/params/{name}")


def _check_operations(operations: Sequence[Any], plan: Sequence[Planned], where: str) -> None:
    for index, (operation, planned) in enumerate(zip(operations, plan, strict=False)):
        pointer = f"{where}/{index}"
        if isinstance(operation, dict):
            given, at = operation, pointer
        elif isinstance(operation, list) and len(operation) == 2:
            given, at = operation[1], f"{pointer}/1"
        else:
            continue
        params = {name: getattr(planned.params, name) for name in planned.params.model_fields_set}
        if isinstance(given, dict):
            for name in (name for name in given if name in params):
                _check(f"{planned.step} {name}", given[name], params[name], f"{at}/{name}")
        elif not isinstance(given, str) and len(params) == 1:  # a text is a short form, such as 50%
            _check(planned.step, given, *params.values(), at)


def _check(what: str, given: object, meant: object, pointer: str) -> None:
    kind, taken = _kind(given), _kind(meant)
    if "other" in (kind, taken) or kind == taken or taken == "a text":
        return
    message = f"{what}: {show(given)} is {kind}; accepted is {taken}"
    code = "invalid_parameter" if "/operations/" in pointer else "invalid_document"
    raise RequestError(422, code, message, pointer)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "other"
