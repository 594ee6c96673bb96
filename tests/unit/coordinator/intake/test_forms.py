"""The form reader: the same form whatever the pieces it comes in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.coordinator.intake.forms import FormReader

CONTENT_TYPE = 'multipart/form-data; boundary="B B"'
TRICKY = b"\xff\xd8\xff\r\n--B\r\n--B B-\r\n-\r\n--B Bx" + bytes(range(256)) * 3
BODY = (
    b"--B B\r\nContent-Disposition: form-data; name=job\r\n\r\n{}\r\n"
    b'--B B\r\ncontent-type: image/jpeg\r\nCONTENT-DISPOSITION: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    + TRICKY
    + b'\r\n--B B\r\nContent-Disposition: form-data; name="files"; filename="b"\r\n\r\n\r\n--B B--\r\nafterwards'
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty store."""
    return LocalStore(tmp_path)


def reader(store: LocalStore, **limits: int) -> FormReader:
    """A reader that writes into a store."""
    return FormReader(
        CONTENT_TYPE, "job", Limits(**limits), lambda index: store.upload(f"uploads/u/{index}"), digest=True
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_form_is_the_same_in_pieces_of_any_size(store: LocalStore, size: int) -> None:
    form = reader(store)
    for start in range(0, len(BODY), size):
        form.feed(BODY[start : start + size])
    read = form.finish()
    assert read.texts == ["{}"]
    assert [(file.name, file.size_bytes, file.kind) for file in read.files] == [
        ("a.jpg", len(TRICKY), "jpeg"),
        ("b", 0, None),
    ]
    assert read.files[0].sha256 == hashlib.sha256(TRICKY).hexdigest()
    assert store.get("uploads/u/0") == TRICKY
    assert store.get("uploads/u/1") == b""


@pytest.mark.parametrize("cut", range(0, len(BODY) - 20, 37))
def test_a_form_that_breaks_off_anywhere_is_malformed(store: LocalStore, cut: int) -> None:
    form = reader(store)
    form.feed(BODY[:cut])
    with pytest.raises(RequestError) as refused:
        form.finish()
    assert (refused.value.status, refused.value.code) == (400, "malformed_multipart")
    form.abort()
    assert list((store.root / ".tmp").iterdir()) == []


def test_a_file_over_its_limit_is_refused_at_the_byte_that_is_too_much(store: LocalStore) -> None:
    reader(store, max_file_bytes=len(TRICKY)).feed(BODY)
    form = reader(store, max_file_bytes=len(TRICKY) - 1)
    with pytest.raises(RequestError) as refused:
        form.feed(BODY)
    form.abort()
    assert (refused.value.status, refused.value.code) == (413, "too_large_file")


def test_an_endless_header_is_refused(store: LocalStore) -> None:
    form = reader(store)
    form.feed(b"--B B\r\nX-Endless: ")
    with pytest.raises(RequestError, match="multipart"):
        form.feed(b"x" * 100_000)
