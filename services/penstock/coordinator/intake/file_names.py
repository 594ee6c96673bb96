"""File names: makes names of sent and of found files safe for the store, for listings and for URLs."""

import re
import unicodedata

from penstock.common.model.errors import RequestError
from penstock.common.model.names import CONTROL, INVISIBLE, folder_name, replace_characters, with_digest

MAX_PATH_BYTES = 1_024
"""The longest file name with its folders."""


def clean_name(raw: str, max_bytes: int = 255) -> str:
    """Return an uploaded file's name: the last component of its path, in Unicode's composed form (NFC).

    Invisible formatting characters are replaced by `_`.

    Raises:
        RequestError: 422 for a name that is empty, `.` or `..`, holds control characters, or is over `max_bytes`.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", raw)[-1])
    if name in ("", ".", ".."):
        raise invalid_name(raw, "it has no file name")
    if any(unicodedata.category(character) in CONTROL for character in name):
        raise invalid_name(raw, "control characters are not accepted")
    size_bytes = len(name.encode())
    if size_bytes > max_bytes:
        message = f"file name {name[:40]!r}… has {size_bytes} bytes; accepted are up to {max_bytes}"
        raise RequestError(422, "name_too_long", message, "/files")
    return replace_characters(name, INVISIBLE)


def clean_path(raw: str, max_bytes: int = 255) -> str:
    """Return the name of a file that was sent with its folders: each component as `clean_name` returns it.

    A folder that could have the same name as a result is renamed (`a.jpg/` becomes `a.jpg~/`).

    Raises:
        RequestError: 422 for empty, `.` and `..` components, hidden folders, backslashes, control characters, and
            names that are too long.
    """
    if len(raw.encode()) > MAX_PATH_BYTES:
        message = f"file name {raw[:40]!r}… is over {MAX_PATH_BYTES} bytes long"
        raise RequestError(422, "name_too_long", message, "/files")
    if "\\" in raw or any(part in ("", ".", "..") for part in raw.split("/")):
        raise invalid_name(raw, "accepted are components separated by /, none empty, '.' or '..', without backslashes")
    *folders, name = (clean_name(part, max_bytes) for part in raw.split("/"))
    if any(folder.startswith(".") for folder in folders):
        raise invalid_name(raw, "it is in a hidden folder")
    return "/".join([*map(folder_name, folders), name])


def shown_key_part(raw: str) -> str:
    """Return a component of an object's key as `shown_name` does, but with a digest also if only its form changed.

    A bucket may have two keys that look alike, in any order, so the second can't be renamed when it is found.
    """
    if raw.isascii() and raw.isprintable():
        return raw
    name = replace_characters(unicodedata.normalize("NFC", raw), INVISIBLE | CONTROL)
    return name if name == raw else with_digest(name, raw)


def invalid_name(raw: str, why: str) -> RequestError:
    """Return the error for a file name that is not accepted."""
    return RequestError(422, "invalid_name", f"file name {raw[:60]!a}: {why}", "/files")
