"""Names of files that customers send or have: made safe to store, to list and to put into a URL."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from penstock.common.model.errors import RequestError
from penstock.common.model.names import without_suffix

MAX_PATH_BYTES = 1_024
"""Bytes of a file's name with its folders."""

_REPLACED = frozenset({"Cf", "Zl", "Zp"})
"""Invisible characters that turn the reading direction or join and break lines; they could disguise a name."""
_REFUSED = frozenset({"Cc", "Cs"})


def clean_name(raw: str, max_bytes: int = 255) -> str:
    """Return the name to keep an uploaded file under: its last path component, in Unicode's composed form (NFC).

    Invisible formatting characters become `_`.

    Raises:
        RequestError: 422 for a name that is empty, `.` or `..`, holds control characters, or is over `max_bytes`.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", raw)[-1])
    if name in ("", ".", ".."):
        raise invalid_name(raw, "it has no file name in it")
    if any(unicodedata.category(character) in _REFUSED for character in name):
        raise invalid_name(raw, "control characters are not accepted")
    size_bytes = len(name.encode())
    if size_bytes > max_bytes:
        raise RequestError(
            422, "name_too_long", f"file name {name[:40]!r}… has {size_bytes} bytes; accepted are {max_bytes}", "/files"
        )
    return _without(name, _REPLACED)


def clean_path(raw: str, max_bytes: int = 255) -> str:
    """Return the name to keep a file under that is sent with its folders: each part as `clean_name` has it.

    A folder that a result could be called as well is changed (`a-0.jpg/` becomes `a-0.jpg~/`).

    Raises:
        RequestError: 422 for empty, `.` and `..` parts, hidden folders, backslashes, control characters, and what is
            too long.
    """
    if len(raw.encode()) > MAX_PATH_BYTES:
        raise RequestError(
            422, "name_too_long", f"file name {raw[:40]!r}… is over {MAX_PATH_BYTES} bytes long", "/files"
        )
    if "\\" in raw or any(part in ("", ".", "..") for part in raw.split("/")):
        raise invalid_name(raw, "accepted are parts with / between, none empty, '.' or '..', and no backslash")
    *folders, name = (clean_name(part, max_bytes) for part in raw.split("/"))
    if any(folder.startswith(".") for folder in folders):
        raise invalid_name(raw, "it lies in a hidden folder")
    return "".join(map(folder_name, folders)) + name


def folder_name(name: str) -> str:
    """Return a folder's name as its files carry it; one that a result could be called as well is changed."""
    if not name:
        return ""
    return f"{name}~/" if re.search(r"-[0-9]+\.[a-z]+$", name) else f"{name}/"


def shown_name(raw: str) -> str:
    """Return a path component found on disk as a name that can be shown: always possible, told apart by a digest."""
    composed = unicodedata.normalize("NFC", raw)
    name = _without(composed, _REPLACED | _REFUSED)
    return name if name == composed else _told_apart(name, raw)


def shown_key_part(raw: str) -> str:
    """Return part of an object's key as a name: as `shown_name`, but keys that only look alike are told apart as well.

    A bucket may hold two of them in any order, so the second one can't be given another name once it is found.
    """
    if raw.isascii() and raw.isprintable():
        return raw
    name = _without(unicodedata.normalize("NFC", raw), _REPLACED | _REFUSED)
    return name if name == raw else _told_apart(name, raw)


def invalid_name(raw: str, why: str) -> RequestError:
    """Return the refusal of a file name."""
    return RequestError(422, "invalid_name", f"file name {raw[:60]!a}: {why}", "/files")


def _told_apart(name: str, raw: str) -> str:
    stem = without_suffix(name)
    digest = hashlib.sha256(raw.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{stem}~{digest}{name[len(stem) :]}"


def _without(name: str, categories: frozenset[str]) -> str:
    if name.isascii() and name.isprintable():
        return name
    return "".join("_" if unicodedata.category(character) in categories else character for character in name)
