"""Faults: what a model says about a document that it does not accept, in plain words instead of pydantic's."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.common.wording.suggestions import accepted_names

MAX_SHOWN = 60
"""Longest value in a message, in characters."""

FORMS = {
    r"^#[0-9a-fA-F]{6}$": "a colour as #rrggbb, such as #ffffff",
    r"^[0-9]{1,3}(\.[0-9]{1,4})?%$": "a percentage, such as 25%",
    r"^[0-9]{1,5}(\.[0-9]{1,4})?:[0-9]{1,5}(\.[0-9]{1,4})?$": "an aspect ratio, such as 16:9",
    r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$": "a name of up to 63 of a-z, 0-9, '.', '_' and '-', such as delft",
    r"^sha256:[0-9a-f]{64}$": "sha256: and 64 hexadecimal digits, as penstock key writes them",
    r"^[0-9a-f]{16}$": "16 hexadecimal digits",
    r"^[0-9]+[bkmg]?$": "a number with the unit b, k, m or g, such as 4g",
    r"^https?://": "a URL that begins with http:// or https://",
    r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/\S*\{z\}\S*\{[xy]\}\S*\{[xy]\}\S*$": "a URL with {z}, {x} and {y}, such as"
    " https://tiles.example/{z}/{x}/{y}.png",
    r"^https://": "a URL that begins with https://",
    r"^/([A-Za-z0-9._~-]+/)*$": "a path that begins and ends with /, such as /files/",
    r"^([a-z][a-z0-9-]*(,[a-z][a-z0-9-]*)*)?$": "names of steps, separated by commas, such as crop,tile",
    r"^(folder|job|label:.{1,63})$": "folder, job, or label: and the name of a label",
    r"^[^/\x00-\x1f\x7f]+$": "a name without a slash or control characters",
    "^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$": "up to 40 letters A to Z, digits, - and _, first a letter or digit",
}
"""What texts look like that a regular expression accepts. Nobody is shown the expression."""

_NOUNS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "string_unicode": "a text",
    "string_too_short": "{min_length} or more characters",
    "string_too_long": "up to {max_length} characters",
    "too_short": "{min_length} or more entries",
    "too_long": "up to {max_length} entries",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "up to {le}",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
    "none_required": "null",
}
_UNION_TAGS = frozenset(("int", "float", "str", "bool", "none", "dict", "list", "tuple"))


class Fault(NamedTuple):
    """The fault of a document that says most: where it is, pydantic's type of it, and what is wrong in words."""

    path: tuple[str, ...]
    type: str
    text: str


def first_fault(error: ValidationError, document: Any = None, secret: Iterable[str] = ()) -> Fault:
    """Return the fault to tell a user of.

    Args:
        error: what a model raised.
        document: what it was given, as parsed JSON, in which the path leads to a value; None if that is not at hand.
        secret: names of fields whose values are not shown.
    """
    found = error.errors(include_url=False)
    paths = [_path(fault, document) for fault in found]
    # A union reports one fault for each of its forms; the deepest one belongs to the form that was meant. A field that
    # is misspelt is in the document, and the one that is missing for it is not.
    path, _ = max(zip(paths, found, strict=True), key=lambda each: (len(each[0]), each[1]["type"] != "missing"))
    faults = [fault for each, fault in zip(paths, found, strict=True) if each == path]
    faults = [fault for fault in faults if fault["type"] not in ("extra_forbidden", "none_required")] or faults
    text = _explain(faults, show_value=not (path and path[-1] in set(secret)))
    if faults[0]["type"] == "extra_forbidden":
        missing = [each[-1] for each, fault in zip(paths, found, strict=True) if fault["type"] == "missing"]
        text += f"; {accepted_names(path[-1], missing)}" if missing else ""
    return Fault(path, faults[0]["type"], text)


def explain(fault: ErrorDetails, *, show_value: bool = True) -> str:
    """Return what is wrong with a value, and what is accepted: `'0' is not accepted; accepted is 1 or more`."""
    return _explain([fault], show_value=show_value)


def show(value: Any) -> str:
    """Return a value for a message, on one line and of bounded length."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _explain(faults: Sequence[ErrorDetails], *, show_value: bool) -> str:
    """Return the words for all faults of one value, of which a union reports one for each of its forms."""
    first = faults[0]
    if first["type"] == "missing":
        return "missing, but required"
    if first["type"] == "extra_forbidden":
        return "there is no such field"
    if first["type"] == "json_invalid":
        return f"not JSON: {first['ctx']['error']}"
    nouns: list[str] = []
    choices: list[str] = []
    for fault in faults:
        if fault["type"] in ("literal_error", "enum"):
            choices += _choices(fault["ctx"])
        elif (noun := _noun(fault)) is None:
            return fault["msg"].removeprefix("Value error, ")  # a validator's own words
        elif noun not in nouns:
            nouns.append(noun)
    value = f"{show(first['input'])} is not accepted; " if show_value else ""
    if not nouns:
        return value + accepted_names(first["input"], choices)
    return f"{value}accepted is {', or '.join(choices + nouns)}"


def _noun(fault: ErrorDetails) -> str | None:
    """Return what is accepted; None if the fault has words of its own."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in ("too_short", "too_long") and isinstance(fault["input"], str):
        kind = f"string_{kind}"
    if kind == "string_pattern_mismatch":
        return FORMS.get(context["pattern"], "a text of another form, see its description")
    noun = _NOUNS.get(kind)
    return None if noun is None else noun.format_map({name: _number(value) for name, value in context.items()})


def _choices(context: Mapping[str, Any]) -> list[str]:
    """Return the values of a literal or an enumeration, which pydantic has as `'jpg', 'png' or 'webp'`."""
    return [choice.strip("'") for choice in re.split(", | or ", context["expected"])]


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _path(fault: ErrorDetails, document: Any) -> tuple[str, ...]:
    """Return a fault's path without the names of a union's members, which are not in the document."""
    location = fault["loc"]
    if document is None:
        kept = (str(part) for at, part in enumerate(location) if at == 0 or not _is_union_tag(part))
        return tuple(kept)
    return tuple(_path_in_document(location, document, fault["type"]))


def _is_union_tag(part: int | str) -> bool:
    return isinstance(part, str) and (part in _UNION_TAGS or "-" in part or "[" in part)


def _path_in_document(location: Sequence[int | str], document: Any, kind: str) -> Iterator[str]:
    for index, part in enumerate(location):
        missing = kind == "missing" and index == len(location) - 1 and isinstance(document, dict)
        if not missing:
            inner = _child(document, part)
            if inner is _ABSENT:
                continue
            document = inner
        yield str(part)


_ABSENT = object()


def _child(document: Any, part: int | str) -> Any:
    if isinstance(document, dict):
        return document.get(part, _ABSENT)
    if isinstance(document, list) and isinstance(part, int) and part < len(document):
        return document[part]
    return _ABSENT
