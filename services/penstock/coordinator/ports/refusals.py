"""Refusals: the errors that several packages answer a request with."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from penstock.common.model.errors import RequestError

BUSY_RETRY_SECS = 5
"""When to try again after a 429 or 503 that does not say."""

_ABSENT = object()
_SECRET_FIELDS = ("secret", "key")


def not_found(what: str) -> RequestError:
    """Return the refusal for something that does not exist."""
    return RequestError(404, "not_found", f"there is no {what}")


def conflict(code: str, message: str) -> RequestError:
    """Return the refusal of a change that the current state does not allow."""
    return RequestError(409, code, message)


def invalid_document(error: ValidationError, document: Any) -> RequestError:
    """Return the refusal of a document that a model does not accept, with a pointer to the first fault."""
    faults = error.errors(include_url=False, include_context=False)
    paths = [list(_path_in_document(fault["loc"], document, fault["type"])) for fault in faults]
    # A union reports one fault for each of its forms; the deepest one belongs to the form that was meant.
    path, fault = max(zip(paths, faults, strict=True), key=lambda found: len(found[0]))
    pointer = "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path) if path else None
    where = ".".join(path) or "the document"
    if fault["type"] == "extra_forbidden":
        return RequestError(422, "unknown_field", f"{where}: there is no such field", pointer)
    hidden = fault["type"] == "missing" or (path and path[-1] in _SECRET_FIELDS)
    given = "" if hidden else f", but {abbreviate(fault['input'])} was given"
    return RequestError(422, "invalid_document", f"{where}: {fault['msg']}{given}", pointer)


def abbreviate(value: Any) -> str:
    """Return a value for a message: ASCII, 60 characters at most."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _path_in_document(location: Sequence[int | str], document: Any, kind: str) -> Iterator[str]:
    """Yield a validation error's path without the names of a union's members, which are not in the document."""
    for index, part in enumerate(location):
        missing = kind == "missing" and index == len(location) - 1 and isinstance(document, dict)
        if not missing:
            inner = _child(document, part)
            if inner is _ABSENT:
                continue
            document = inner
        yield str(part)


def _child(document: Any, part: int | str) -> Any:
    if isinstance(document, dict):
        return document.get(part, _ABSENT)
    if isinstance(document, list) and isinstance(part, int) and part < len(document):
        return document[part]
    return _ABSENT
