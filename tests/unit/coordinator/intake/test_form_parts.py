"""Content-Disposition headers of different clients."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import RequestError
from penstock.coordinator.intake.form_parts import Disposition, read_disposition


@pytest.mark.parametrize(
    ("header", "field", "filename"),
    [
        (b'form-data; name="files"; filename="a.jpg"', "files", "a.jpg"),
        (b"form-data; name=files; filename=a.jpg", "files", "a.jpg"),
        (b"Form-Data; NAME=job", "job", None),
        ('form-data; name="files"; filename="ü ß.jpg"'.encode(), "files", "ü ß.jpg"),
        (b'form-data; name="files"; filename="a;b.jpg"', "files", "a;b.jpg"),
        (b'form-data; name="files"; filename="say \\"hi\\".jpg"', "files", 'say "hi".jpg'),
        (b"form-data; name=files; filename*=utf-8'en'%e2%82%ac.jpg", "files", "€.jpg"),
        (b"form-data; name=files; filename=e.jpg; filename*=iso-8859-1''%E9.jpg", "files", "é.jpg"),
        (b'form-data; name=files; filename="star*.jpg"', "files", "star*.jpg"),
    ],
)
def test_field_and_file_names_are_read(header: bytes, field: str, filename: str | None) -> None:
    assert read_disposition(header) == Disposition(field, filename)


@pytest.mark.parametrize("header", [b"", b"form-data", b"attachment; name=files", b"form-data; filename=a"])
def test_a_part_without_a_field_is_malformed(header: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_disposition(header)
    assert (refused.value.status, refused.value.code) == (400, "malformed_multipart")
