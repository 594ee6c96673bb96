"""FormUpload: a multipart form whose files go to the store while they arrive, every limit checked on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.base import Store
from penstock.coordinator.intake.form_parts import Part, TextPart, malformed, read_disposition
from penstock.coordinator.intake.received_files import ReceivedFiles

_MAX_HEADER_BYTES = 8192
_FILE_FIELDS = ("files", "files[]", "file")


class FormUpload(ReceivedFiles):
    """Receives a form in chunks of any size. `close` removes its files from the store unless a job keeps them.

    Args:
        content_type: the request's header, with the boundary.
        text_field: the name of the one text field, if there is one. It may also be sent as a file, as
            `curl -F field=@file` does.
        admit: called before the first byte is stored; may raise to refuse the request.
        dry_run: whether to check the files without storing them.
        digest: whether to compute the files' SHA-256.
        volatile: whether a power failure may lose the files.

    Raises:
        RequestError: from any method: 400 malformed, 413 over a limit, 422 a field or file name is not accepted.
    """

    def __init__(
        self,
        content_type: str,
        text_field: str | None,
        store: Store,
        limits: Limits,
        *,
        admit: Callable[[], None] | None = None,
        dry_run: bool = False,
        digest: bool = False,
        volatile: bool = False,
    ) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise malformed("the Content-Type has no boundary")
        super().__init__(store, limits, dry_run=dry_run, digest=digest, volatile=volatile)
        self.texts: list[str] = []
        """Values of the text field, in the order they arrived."""
        self._text_field = text_field
        self._admit = admit
        self._part: Part | None = None
        self._text_bytes = 0
        self._is_complete = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        with _translate_errors():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_header_field": partial(self._extend_header, self._header_name),
                    "on_header_value": partial(self._extend_header, self._header_value),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._write_part,
                    "on_part_end": self._end_part,
                    "on_end": self._end_form,
                },
            )

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._admit is not None:
            self._admit()
            self._admit = None
        with _translate_errors():
            self._parser.write(data)

    def finish(self, data: bytes) -> Self:
        """Take the last bytes and return the complete form."""
        self.feed(data)
        if not self._is_complete:
            raise malformed("it ends before its last boundary")
        return self

    def abort(self) -> None:
        """Drop an incomplete form."""
        if self._part is not None:
            self._part.abort()
            self._part = None
        self.close()

    def _extend_header(self, header: bytearray, data: bytes, start: int, end: int) -> None:
        header += data[start:end]
        if len(header) > _MAX_HEADER_BYTES:
            raise malformed(f"a part's header is longer than {_MAX_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _open_part(self) -> None:
        disposition = read_disposition(self._disposition)
        self._disposition = b""
        if self._text_field and disposition.field in (self._text_field, f"{self._text_field}[]"):
            self._part = self._open_text(self._text_field)
        elif disposition.field in _FILE_FIELDS:
            if disposition.filename is None:
                raise RequestError(422, "not_a_file", "a part of the field files has no file name", "/files")
            self._part = self.open_file(disposition.filename)
        else:
            accepted = f"{self._text_field} and files" if self._text_field else "file"
            message = f"there is no field {disposition.field[:60]!r}; accepted are {accepted}"
            raise RequestError(422, "unknown_field", message)

    def _open_text(self, field: str) -> Part:
        if len(self.texts) >= self._limits.max_fields:
            raise RequestError(413, "too_many_fields", f"too many form fields; {self._limits.accepted('max_fields')}")
        return TextPart(self.texts, field, self._count_text)

    def _count_text(self, size_bytes: int) -> None:
        # One limit for all texts together: a hundred of the largest accepted size would fill the memory.
        self._text_bytes += size_bytes
        if self._text_bytes > self._limits.max_field_bytes:
            message = f"{self._text_field} is too large; {self._limits.accepted('max_field_bytes')}"
            raise RequestError(413, "too_large_field", message, f"/{self._text_field}")

    def _write_part(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        assert self._part is not None
        self._part.commit()
        self._part = None

    def _end_form(self) -> None:
        self._is_complete = True


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise malformed(str(error)) from error
