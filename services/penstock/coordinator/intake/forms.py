"""An upload form, read piece by piece: fields into memory, files into the store, every limit checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.base import Upload
from penstock.coordinator.intake.content_disposition import malformed, read_disposition
from penstock.coordinator.intake.file_names import clean_name
from penstock.coordinator.intake.form_parts import FilePart, Part, SentFile, TextPart

_MAX_HEADER_BYTES = 8192
_FILE_FIELDS = ("files", "files[]")

OpenUpload = Callable[[int], Upload]
"""Starts writing the file of that index."""


@dataclass
class Form:
    """What a form held: texts in the order they came, by field, and files."""

    texts: list[str] = field(default_factory=list)
    files: list[SentFile] = field(default_factory=list)


class FormReader:
    """Takes a form's bytes in pieces of any size. Files are committed to the store one by one as they end.

    Args:
        content_type: the request's header, for its boundary.
        text_field: the one field that is a text (as a file part too, as `curl -F field=@document.json` sends it).
        open_upload: where files go.
        digest: whether to compute the files' SHA-256.

    Raises:
        RequestError: from any method: 400 malformed, 413 over a limit, 422 a name or a field that is not accepted.
    """

    def __init__(
        self, content_type: str, text_field: str, limits: Limits, open_upload: OpenUpload, *, digest: bool = False
    ) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise malformed("the Content-Type names no boundary")
        self._form = Form()
        self._text_field = text_field
        self._limits = limits
        self._open_upload = open_upload
        self._digest = digest
        self._part: Part | None = None
        self._text_bytes = 0
        self._ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        with _translated():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._take_header_name,
                    "on_header_value": self._take_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._take_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        with _translated():
            self._parser.write(data)

    def finish(self) -> Form:
        """Return the form, once all bytes were fed."""
        if not self._ended:
            raise malformed("it breaks off before its last boundary")
        return self._form

    def abort(self) -> None:
        """Drop the file that is being written; those committed stay."""
        part, self._part = self._part, None
        if part is not None:
            part.abort()

    def _begin_part(self) -> None:
        self._disposition = b""

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._extend(self._header_name, data[start:end])

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._extend(self._header_value, data[start:end])

    def _extend(self, header: bytearray, data: bytes) -> None:
        header += data
        if len(header) > _MAX_HEADER_BYTES:
            raise malformed(f"a part's header is longer than {_MAX_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _open_part(self) -> None:
        disposition = read_disposition(self._disposition)
        if disposition.field in (self._text_field, f"{self._text_field}[]"):
            self._part = self._open_text()
        elif disposition.field in _FILE_FIELDS:
            if disposition.filename is None:
                raise RequestError(422, "not_a_file", "the field files holds a part without a file name", "/files")
            self._part = self._open_file(disposition.filename)
        else:
            raise RequestError(
                422,
                "unknown_field",
                f"no field {disposition.field[:60]!r}; accepted are {self._text_field} and files",
            )

    def _open_text(self) -> Part:
        if len(self._form.texts) >= self._limits.max_fields:
            raise RequestError(413, "too_many_fields", f"more than {self._limits.max_fields} form fields")
        return TextPart(self._form.texts, self._text_field, self._count_text)

    def _count_text(self, size_bytes: int) -> None:
        # All texts together hold to the bound of one, or a hundred of them would fill the memory.
        self._text_bytes += size_bytes
        if self._text_bytes > self._limits.max_field_bytes:
            raise RequestError(
                413,
                "too_large_field",
                f"{self._text_field} is larger than {self._limits.max_field_bytes} bytes",
                f"/{self._text_field}",
            )

    def _open_file(self, filename: str) -> Part:
        index = len(self._form.files)
        if index >= self._limits.max_files:
            raise RequestError(413, "too_many_files", f"more than {self._limits.max_files} files", "/files")
        name = clean_name(filename, self._limits.max_name_bytes)
        return FilePart(self._form.files, name, self._limits, self._open_upload(index), digest=self._digest)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        assert self._part is not None
        self._part.commit()
        self._part = None

    def _end(self) -> None:
        self._ended = True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise malformed(str(error)) from error
