"""JobRequest: a validated job document and its plan."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import (
    DECODE_OPTIONS,
    ENCODE_OPTIONS,
    JobDocument,
    JobRef,
    ManifestRef,
    Prefix,
    UploadRef,
)
from penstock.common.model.operations import PIXELS_ALONE, Decode
from penstock.common.model.plan import Plan, make_job_plan
from penstock.common.model.result_names import PARTS, ResultNames
from penstock.common.settings import Limits
from penstock.coordinator.intake.strict_types import check_types
from penstock.coordinator.ports.refusals import invalid_document
from penstock.coordinator.ports.repository import TRANSIENT
from penstock.coordinator.ports.unstored_jobs import VOLATILE

_MAX_SOURCE = 200


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INVISIBLE = re.compile(r"[\x80-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


@dataclass(frozen=True)
class JobRequest:
    """A job as it was requested: the document, the plan of its operations, and how its results are named."""

    document: JobDocument
    plan: Plan
    names: ResultNames
    exact_names: bool = False
    """Whether names of images that differ in case alone are different, as for version 0.1.0."""
    has_sidecars: bool = True
    """Whether files that are called like sidecars are; for version 0.1.0, they were files like others."""
    transient: bool = False
    """Whether the job is deleted once its request was answered."""
    volatile: bool = False
    """Whether a power failure may lose the job's files: it also ends the only request that knows of them."""

    def canonical(self) -> dict[str, Any]:
        """Return the request in one form, however it was written, to compare requests.

        Without a webhook and what later versions added, and for `/process`, it is the same as that of version 0.1.0.
        """
        operations = self.plan.document() if self.exact_names else self.plan.canonical()
        later = {"names", "expire_after", "deadline", "deadline_strict", "cost"}
        excluded = {"operations", "outputs", "webhook", *later, *ENCODE_OPTIONS, *DECODE_OPTIONS}
        request = {
            "operations": operations,
            **self.document.model_dump(mode="json", exclude=excluded),
            **self.document.model_dump(mode="json", include=later, exclude_defaults=True),
        }
        webhook = self.document.webhook
        if webhook is not None:
            request["webhook"] = [webhook.url, webhook.secret.get_secret_value() if webhook.secret else None]
        return request

    def stored_document(self) -> dict[str, Any]:
        """Return the part of the document that a job's row stores; it has the plan and the webhook separately.

        Without `names`, results are named as by version 0.1.0.
        """
        stored = self.document.model_dump(
            mode="json",
            exclude={"operations", "outputs", "inputs", "webhook", "names", "expire_after"},
            exclude_defaults=True,
            exclude_none=True,
        )
        if self.names.template != PARTS:
            stored["names"] = self.names.template
        if self.document.inputs and (source := _describe(self.document.inputs)):
            stored["source"] = source
        if self.transient:
            stored[TRANSIENT] = True
        if self.volatile:
            stored[VOLATILE] = True
        return stored


def _describe(inputs: Sequence[str | Prefix | ManifestRef | UploadRef | JobRef]) -> str:
    """Return inputs in short, such as `delft/ and 3 more`; empty for an upload."""
    first = inputs[0]
    if isinstance(first, UploadRef):
        return ""
    if isinstance(first, JobRef):
        return f"job {first.job}"
    named = first if isinstance(first, str) else first.prefix if isinstance(first, Prefix) else first.manifest
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    return f"{named[:_MAX_SOURCE]}{more}"


def no_images() -> RequestError:
    """Return the error for a job without images."""
    return RequestError(422, "no_images", "no images were given; accepted are files of a form, or inputs")


def read_json(data: bytes | str, what: str = "this") -> Any:
    """Parse JSON strictly: no NaN, no lone surrogates, bounded depth. `what` is its name in the error.

    Raises:
        RequestError: 400 with the position of the error.
    """
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, "invalid_json", f"{what} is not JSON: {error}") from error


def read_job_request(
    document: Any, limits: Limits, decode: Decode | None = None, *, of_texts: bool = False
) -> JobRequest:
    """Validate a parsed job document.

    Args:
        decode: the defaults for reading images, if they are not the usual ones.
        of_texts: whether its numbers may be texts, as in a query.

    Raises:
        RequestError: 422 with a pointer to the error.
    """
    is_strict = decode is None  # version 0.1.0 was not, and /process is as it was
    try:
        job = JobDocument.model_validate(document)
    except ValidationError as error:
        raise invalid_document(error, document, JobDocument) from error
    for pointer, text in _texts(job):
        if _CONTROL.search(text):
            raise RequestError(422, "invalid_document", "control characters are not accepted", pointer)
        if is_strict and pointer in ("/name", "/labels") and _INVISIBLE.search(text):
            message = "characters that are invisible or change the direction of text are not accepted"
            raise RequestError(422, "invalid_document", message, pointer)
    plan = make_job_plan(job, limits, decode)
    if is_strict and not of_texts:
        check_types(document, job, plan)
    return JobRequest(job, plan, plan.result_names(job.names))


def read_form_request(texts: Sequence[str], limits: Limits) -> JobRequest:
    """Read the job document of a form, which has its images in files. Raises RequestError: 400 or 422."""
    if len(texts) != 1:
        raise RequestError(422, "no_job", f"{len(texts)} fields job; accepted is one, with the job document", "/job")
    request = read_job_request(read_json(texts[0], "the field job"), limits)
    if request.document.inputs:
        message = "inputs and files cannot be sent together; send two jobs"
        raise RequestError(422, "inputs_and_files", message, "/inputs")
    return request


def read_actions(fields: list[str], limits: Limits) -> list[JobRequest]:
    """Read the `actions` of a form: each field one document, or a JSON list of them.

    Raises:
        RequestError: 400 or 422, with a pointer that starts with the document's index.
    """
    documents = [
        document
        for field in fields
        for parsed in [read_json(field, "the field actions")]
        for document in (parsed if isinstance(parsed, list) else [parsed])
    ]
    if not documents:
        message = 'there are no actions; accepted is a field actions={"operations": …}'
        raise RequestError(422, "no_actions", message, "/actions")
    if len(documents) > limits.max_fields:
        message = f"{len(documents)} actions; {limits.accepted('max_fields')}"
        raise RequestError(422, "too_many_actions", message, "/actions")
    return [_read_action(index, document, limits) for index, document in enumerate(documents)]


def _read_action(index: int, document: Any, limits: Limits) -> JobRequest:
    pointer = f"/actions/{index}"
    try:
        request = read_job_request(document, limits, PIXELS_ALONE)
    except RequestError as error:
        where = pointer + (error.pointer or "")
        raise RequestError(error.status, error.code, error.message, where) from error
    if request.document.inputs:
        raise RequestError(422, "inputs_and_files", "actions can't have inputs; use /v1/jobs", pointer)
    if request.document.outputs:
        raise RequestError(422, "several_outputs", "actions can't have outputs; use /v1/jobs", f"{pointer}/outputs")
    if request.plan.by:
        raise RequestError(
            422, "gather_in_actions", "actions can't gather images; use /v1/jobs", f"{pointer}/operations"
        )
    request = replace(request, has_sidecars=False)
    if request.document.names is not None:
        return request
    return replace(request, names=ResultNames(), exact_names=True)


def _texts(job: JobDocument) -> Iterator[tuple[str, str]]:
    yield "/name", job.name
    for key, value in job.labels.items():
        yield "/labels", key
        yield "/labels", value
    for index, given in enumerate(job.inputs):
        yield f"/inputs/{index}", _location(given)
    yield "/results", job.results or ""


def _location(given: str | Prefix | ManifestRef | UploadRef | JobRef) -> str:
    return given if isinstance(given, str) else next(iter(given.model_dump().values()))
