"""Query options: a job for one image, described by the query of a URL as the command line's options describe it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, JobDocument, parse_op
from penstock.common.settings import Limits
from penstock.common.wording.faults import show
from penstock.common.wording.suggestions import accepted_names
from penstock.coordinator.intake.job_requests import JobRequest, read_job_request
from penstock.coordinator.ports.repository import TRANSIENT

JOB_OPTIONS = (*ENCODE_OPTIONS, *DECODE_OPTIONS, "name", "priority")
"""Fields of a job document that the query may have."""

_MAX_REMEMBERED = 256
_SHORT = 1_000
"""Characters of a query that is remembered."""
_KEEP = {"true": True, "false": False}


@dataclass(frozen=True)
class QueryOptions:
    """What a query asks for: the job's request, and the name of the file that is its image."""

    request: JobRequest
    filename: str = "image"


def read_query(query: Iterable[tuple[str, str]], max_priority: int, limits: Limits) -> QueryOptions:
    """Read `op=resize=512x512&op=blur=gaussian&output=png`; `op` may be repeated, other parameters not.

    The job is deleted after the response unless there is `keep=true`. Its priority is the highest that the caller may
    use, unless the query says otherwise.

    Raises:
        RequestError: 422 for a parameter that does not exist or is not accepted. A pointer is one into the job document
            that the query stands for.
    """
    ops: list[str] = []
    given: dict[str, str] = {}
    for name, value in query:
        if name == "op":
            ops.append(value)
        elif name in given:
            raise _invalid(name, "given more than once; accepted is once")
        elif name in ("keep", "filename", *JOB_OPTIONS):
            given[name] = value
        else:
            accepted = accepted_names(name, ["op", *JOB_OPTIONS, "filename", "keep"])
            raise _invalid(name, f"there is no such parameter; {accepted}")
    keep, filename = given.pop("keep", "false"), given.pop("filename", "image")
    if keep not in _KEEP:
        raise _invalid("keep", f"{show(keep)} is not accepted; accepted are true and false")
    document: dict[str, Any] = {"priority": max_priority, **given, "operations": [parse_op(op) for op in ops]}
    if not _KEEP[keep]:
        document["labels"] = {TRANSIENT: "true"}
    request = read_job_request(document, limits, of_texts=True)
    if request.plan.by:
        message = "one image cannot be gathered with others; use /v1/jobs"
        raise RequestError(422, "gather_of_one_image", message, f"/operations/{len(ops) - 1}")
    return QueryOptions(replace(request, transient=not _KEEP[keep]), filename)


class QueryReader:
    """Reads queries as `read_query` does, and remembers the last short ones: most callers send the same one again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._remembered = lru_cache(_MAX_REMEMBERED)(self._read)

    def read(self, query: Iterable[tuple[str, str]], max_priority: int) -> QueryOptions:
        """Return the options of a query; raises as `read_query`."""
        items = tuple(query)
        is_short = sum(len(name) + len(value) for name, value in items) <= _SHORT
        return (self._remembered if is_short else self._read)(items, max_priority)

    def _read(self, items: tuple[tuple[str, str], ...], max_priority: int) -> QueryOptions:
        return read_query(items, max_priority, self._limits)


def query_parameters() -> Iterator[dict[str, Any]]:
    """Yield the parameters in OpenAPI's form, from the job document's schema."""
    yield {
        "name": "op",
        "in": "query",
        "description": "An operation, `name` or `name=value`; repeated for more, in order. See /v1/operations",
        "schema": {"type": "array", "items": {"type": "string"}},
        "style": "form",
        "explode": True,
        "example": ["resize=512x512", "blur=gaussian"],
    }
    fields = JobDocument.model_json_schema()["properties"]
    for name in JOB_OPTIONS:
        field = fields[name]
        kinds = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
        schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        schema = {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
        yield {"name": name, "in": "query", "description": field.get("description", ""), "schema": schema}
    filename = "Name of the image, which its results are named after; for an image that is the whole body"
    yield {"name": "filename", "in": "query", "description": filename, "schema": {"type": "string", "minLength": 1}}
    kept = "Whether the job and its files stay; otherwise they are deleted after the response"
    yield {"name": "keep", "in": "query", "description": kept, "schema": {"type": "boolean", "default": False}}


def _invalid(name: str, message: str) -> RequestError:
    return RequestError(422, "invalid_parameter", f"query parameter {name[:60]!a}: {message}")
