"""Parts of a form: their header, and a text that is held in memory, or a file that goes to the store as it arrives."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message

from python_multipart.multipart import parse_options_header

from penstock.common.image_header import HEAD_BYTES, image_type
from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.base import Buffer, Upload
from penstock.coordinator.intake.file_names import invalid_name


@dataclass(frozen=True)
class SentFile:
    """A received file: its clean name, size, type by its first bytes (None: not accepted), and digest if asked for.

    `refusal` completes "… is …" where its type is not accepted: what it is, and what is accepted.
    """

    name: str
    size_bytes: int
    kind: str | None
    sha256: str | None
    refusal: str = ""


class DiscardedUpload:
    """An upload that stores nothing, for dry runs."""

    def write(self, data: Buffer) -> None:
        """Discard the bytes."""

    def commit(self) -> int:
        """Return the stored size: 0."""
        return 0

    def abort(self) -> None:
        """Do nothing."""


@dataclass
class TextPart:
    """A text; `commit` appends it to `texts`."""

    texts: list[str]
    name: str
    count: Callable[[int], None]
    _data: bytearray = field(default_factory=bytearray)

    def write(self, data: memoryview) -> None:
        self.count(len(data))
        self._data += data

    def commit(self) -> None:
        try:
            self.texts.append(self._data.decode())
        except UnicodeDecodeError as error:
            raise RequestError(400, "invalid_json", f"{self.name} is not UTF-8") from error

    def abort(self) -> None:
        self._data.clear()


class FilePart:
    """A file; `commit` appends it to `files`."""

    def __init__(self, files: list[SentFile], name: str, limits: Limits, upload: Upload, *, digest: bool) -> None:
        self._files = files
        self._name = name
        self._limits = limits
        self._upload = upload
        self._sha256 = hashlib.sha256() if digest else None
        self._head = b""
        self._size_bytes = 0

    def write(self, data: memoryview) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > self._limits.max_file_bytes:
            message = f"file {self._name!r} is too large; {self._limits.accepted('max_file_bytes')}"
            raise RequestError(413, "too_large_file", message, "/files")
        if len(self._head) < HEAD_BYTES:
            self._head += bytes(data[: HEAD_BYTES - len(self._head)])
        if self._sha256 is not None:
            self._sha256.update(data)
        self._upload.write(data)

    def commit(self) -> None:
        self._upload.commit()
        digest = self._sha256.hexdigest() if self._sha256 is not None else None
        kind, refusal = image_type(self._head), ""
        if kind not in self._limits.types:
            kind, refusal = None, self._limits.describe_refused(self._head)
        self._files.append(SentFile(self._name, self._size_bytes, kind, digest, refusal))

    def abort(self) -> None:
        self._upload.abort()


Part = TextPart | FilePart


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
