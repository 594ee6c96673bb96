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
from penstock.common.store.keys import upload_key
from penstock.coordinator.intake.file_names import clean_name
from penstock.coordinator.intake.form_parts import (
    DiscardedUpload,
    FilePart,
    Part,
    SentFile,
    TextPart,
    malformed,
    read_disposition,
)
from penstock.coordinator.ports.ids import new_id

_MAX_HEADER_BYTES = 8192
_FILE_FIELDS = ("files", "files[]")


class FormUpload:
    """Receives a form in chunks of any size. `close` removes its files from the store unless a job keeps them.

    Args:
        content_type: the request's header, with the boundary.
        text_field: the name of the one text field. It may also be sent as a file, as `curl -F field=@file` does.
        admit: called before the first byte is stored; may raise to refuse the request.
        dry_run: whether to check the files without storing them.
        digest: whether to compute the files' SHA-256.

    Raises:
        RequestError: from any method: 400 malformed, 413 over a limit, 422 a field or file name is not accepted.
    """

    def __init__(
        self,
        content_type: str,
        text_field: str,
        store: Store,
        limits: Limits,
        *,
        admit: Callable[[], None] | None = None,
        dry_run: bool = False,
        digest: bool = False,
    ) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise malformed("the Content-Type has no boundary")
        self.id = new_id()
        """The id under which its files are stored."""
        self.texts: list[str] = []
        """Values of the text field, in the order they arrived."""
        self.files: list[SentFile] = []
        self._text_field = text_field
        self._store = store
        self._limits = limits
        self._admit = admit
        self._dry_run = dry_run
        self._digest = digest
        self._part: Part | None = None
        self._text_bytes = 0
        self._has_stored = False
        self._kept = False
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

    def keep(self) -> None:
        """Leave the files in the store from now on: a job reads them."""
        self._kept = True

    def abort(self) -> None:
        """Drop an incomplete form."""
        if self._part is not None:
            self._part.abort()
            self._part = None
        self.close()

    def close(self) -> None:
        """Remove the files unless they were kept."""
        if self._has_stored and not self._kept:
            self._store.delete_prefix(upload_prefix(self.id))
            self._has_stored = False

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
        if disposition.field in (self._text_field, f"{self._text_field}[]"):
            self._part = self._open_text()
        elif disposition.field in _FILE_FIELDS:
            if disposition.filename is None:
                raise RequestError(422, "not_a_file", "a part of the field files has no file name", "/files")
            self._part = self._open_file(disposition.filename)
        else:
            message = f"there is no field {disposition.field[:60]!r}; accepted are {self._text_field} and files"
            raise RequestError(422, "unknown_field", message)

    def _open_text(self) -> Part:
        if len(self.texts) >= self._limits.max_fields:
            raise RequestError(413, "too_many_fields", f"too many form fields; {self._limits.accepted('max_fields')}")
        return TextPart(self.texts, self._text_field, self._count_text)

    def _count_text(self, size_bytes: int) -> None:
        # One limit for all texts together: a hundred of the largest accepted size would fill the memory.
        self._text_bytes += size_bytes
        if self._text_bytes > self._limits.max_field_bytes:
            message = f"{self._text_field} is too large; {self._limits.accepted('max_field_bytes')} bytes"
            raise RequestError(413, "too_large_field", message, f"/{self._text_field}")

    def _open_file(self, filename: str) -> Part:
        index = len(self.files)
        if index >= self._limits.max_files:
            raise RequestError(413, "too_many_files", f"too many files; {self._limits.accepted('max_files')}", "/files")
        name = clean_name(filename, self._limits.max_name_bytes)
        self._has_stored = not self._dry_run
        upload = DiscardedUpload() if self._dry_run else self._store.upload(upload_key(self.id, index))
        return FilePart(self.files, name, self._limits, upload, digest=self._digest)

    def _write_part(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        assert self._part is not None
        self._part.commit()
        self._part = None

    def _end_form(self) -> None:
        self._is_complete = True


def upload_prefix(upload: str) -> str:
    """Return the folder of an upload's files in the store."""
    return upload_key(upload, 0).rpartition("/")[0]


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise malformed(str(error)) from error
