"""JobRequest: a validated job document and its plan."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, JobDocument, ManifestRef, Prefix, UploadRef
from penstock.common.model.operations import PIXELS_ALONE, Decode
from penstock.common.model.plan import Plan, make_job_plan
from penstock.common.model.result_names import PARTS, ResultNames
from penstock.common.settings import Limits
from penstock.coordinator.ports.refusals import invalid_document
from penstock.coordinator.ports.repository import TRANSIENT


@dataclass(frozen=True)
class JobRequest:
    """A job as it was requested: the document, the plan of its operations, and how its results are named."""

    document: JobDocument
    plan: Plan
    names: ResultNames
    exact_names: bool = False
    """Whether names of images that differ in case alone are different, as for version 0.1.0."""
    transient: bool = False
    """Whether the job is deleted once its request was answered."""

    def canonical(self) -> dict[str, Any]:
        """Return the request in one form, however it was written, to compare requests.

        Without a webhook or names, and for `/process`, it is the same as that of version 0.1.0.
        """
        operations = self.plan.document() if self.exact_names else self.plan.canonical()
        excluded = {"operations", "webhook", "names", *ENCODE_OPTIONS, *DECODE_OPTIONS}
        request = {"operations": operations, **self.document.model_dump(mode="json", exclude=excluded)}
        webhook = self.document.webhook
        if webhook is not None:
            request["webhook"] = [webhook.url, webhook.secret.get_secret_value() if webhook.secret else None]
        if self.document.names is not None:
            request["names"] = self.document.names
        return request

    def stored_document(self) -> dict[str, Any]:
        """Return the part of the document that a job's row stores; it has the plan and the webhook separately.

        Without `names`, results are named as by version 0.1.0.
        """
        stored = self.document.model_dump(
            mode="json", exclude={"operations", "inputs", "webhook", "names"}, exclude_defaults=True, exclude_none=True
        )
        if self.names.template != PARTS:
            stored["names"] = self.names.template
        return {**stored, TRANSIENT: True} if self.transient else stored


def no_images() -> RequestError:
    """Return the error for a job without images."""
    return RequestError(422, "no_images", "no images were given; accepted are files of a form, or inputs")


def read_json(data: bytes | str) -> Any:
    """Parse JSON strictly: no NaN, no lone surrogates, bounded depth.

    Raises:
        RequestError: 400 with the position of the error.
    """
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, "invalid_json", f"this is not JSON: {error}") from error


def read_job_request(document: Any, limits: Limits, decode: Decode | None = None) -> JobRequest:
    """Validate a parsed job document; `decode` has the defaults for reading images, if they are not the usual ones.

    Raises:
        RequestError: 422 with a pointer to the error.
    """
    try:
        job = JobDocument.model_validate(document)
    except ValidationError as error:
        raise invalid_document(error, document) from error
    for pointer, text in _texts(job):
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise RequestError(422, "invalid_document", "control characters are not accepted", pointer)
    plan = make_job_plan(job, limits, decode)
    return JobRequest(job, plan, plan.result_names(job.names))


def read_form_request(texts: Sequence[str], limits: Limits) -> JobRequest:
    """Read the job document of a form, which has its images in files. Raises RequestError: 400 or 422."""
    if len(texts) != 1:
        raise RequestError(422, "no_job", f"{len(texts)} fields job; accepted is one, with the job document", "/job")
    request = read_job_request(read_json(texts[0]), limits)
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
        document for parsed in map(read_json, fields) for document in (parsed if isinstance(parsed, list) else [parsed])
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


def _location(given: str | Prefix | ManifestRef | UploadRef) -> str:
    return given if isinstance(given, str) else next(iter(given.model_dump().values()))
