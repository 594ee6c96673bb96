"""Refusals: the errors that several packages answer a request with."""

from typing import Any

from pydantic import BaseModel, ValidationError

from penstock.common.model.errors import RequestError
from penstock.common.wording.faults import first_fault
from penstock.common.wording.suggestions import accepted_names

BUSY_RETRY_SECS = 5
"""When to try again after a 429 or 503 that does not say."""

_SECRET_FIELDS = ("secret", "key")


def not_found(what: str) -> RequestError:
    """Return the refusal for something that does not exist."""
    return RequestError(404, "not_found", f"there is no {what}")


def conflict(code: str, message: str) -> RequestError:
    """Return the refusal of a change that the current state does not allow."""
    return RequestError(409, code, message)


def invalid_document(error: ValidationError, document: Any, model: type[BaseModel]) -> RequestError:
    """Return the refusal of a document that a model does not accept, with a pointer to the fault."""
    fault = first_fault(error, document, _SECRET_FIELDS)
    path = fault.path
    pointer = "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path) if path else None
    where = ".".join(path) or "the document"
    if fault.type != "extra_forbidden":
        return RequestError(422, "invalid_document", f"{where}: {fault.text}", pointer)
    accepted = f"; {accepted_names(path[0], [*model.model_fields])}" if len(path) == 1 else ""
    return RequestError(422, "unknown_field", f"{where}: {fault.text}{accepted}", pointer)
