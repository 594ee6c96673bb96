"""Content-Disposition: the header of a form's part, with the names of its field and file."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message

from python_multipart.multipart import parse_options_header

from penstock.common.model.errors import RequestError
from penstock.coordinator.intake.file_names import invalid_name


@dataclass(frozen=True)
class Disposition:
    """A part's field name, and its file name as sent (None: not a file)."""

    field: str
    filename: str | None


def read_disposition(header: bytes) -> Disposition:
    """Parse the header as browsers (UTF-8), curl and RFC 5987 (`filename*=`) write it.

    Raises:
        RequestError: 400 if it has no field name; 422 if a file name can't be decoded.
    """
    kind, options = parse_options_header(header)
    field = options.get(b"name")
    if kind != b"form-data" or field is None:
        raise malformed("a part has no Content-Disposition: form-data with a name")
    filename = _extended_filename(header) if b"*" in header else None
    if filename is None:
        filename = options.get(b"filename")
    return Disposition(field.decode(errors="replace"), None if filename is None else _decode(filename))


def malformed(why: str) -> RequestError:
    """Return the error for a malformed form."""
    return RequestError(400, "malformed_multipart", f"this is not multipart/form-data: {why}")


def _extended_filename(header: bytes) -> bytes | None:
    message = Message()
    message["content-disposition"] = header.decode("latin-1")
    for key, value in message.get_params([], "content-disposition"):
        if key.lower() == "filename" and isinstance(value, tuple):
            charset, _, text = value
            try:
                return text.encode("latin-1").decode(charset or "utf-8").encode()
            except (LookupError, UnicodeError) as error:
                raise invalid_name(text, f"it can't be decoded as {charset!a}") from error
    return None


def _decode(filename: bytes) -> str:
    try:
        return filename.decode()
    except UnicodeDecodeError as error:
        raise invalid_name(filename.decode(errors="replace"), "it is not UTF-8") from error
