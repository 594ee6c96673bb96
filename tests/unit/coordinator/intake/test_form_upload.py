"""FormUpload: the same form whatever the chunks it arrives in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.coordinator.intake.form_upload import FormUpload

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


def form_upload(store: LocalStore, **limits: int) -> FormUpload:
    return FormUpload(CONTENT_TYPE, "job", store, Limits(**limits), digest=True)


def stored(store: LocalStore) -> list[str]:
    """Return the keys of all stored files, unfinished ones included."""
    return [str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_form_is_the_same_in_chunks_of_any_size(store: LocalStore, size: int) -> None:
    form = form_upload(store)
    for start in range(0, len(BODY), size):
        form.feed(BODY[start : start + size])
    assert form.finish(b"") is form
    assert form.texts == ["{}"]
    assert [(file.name, file.size_bytes, file.kind) for file in form.files] == [
        ("a.jpg", len(TRICKY), "jpeg"),
        ("b", 0, None),
    ]
    assert form.files[0].sha256 == hashlib.sha256(TRICKY).hexdigest()
    assert store.get(f"uploads/{form.id}/0") == TRICKY
    assert store.get(f"uploads/{form.id}/1") == b""


def test_files_are_removed_unless_they_are_kept(store: LocalStore) -> None:
    kept, dropped = form_upload(store), form_upload(store)
    for form in (kept, dropped):
        form.finish(BODY)
    kept.keep()
    for form in (kept, dropped):
        form.close()
    assert sorted(stored(store)) == [f"uploads/{kept.id}/0", f"uploads/{kept.id}/1"]


def test_a_dry_run_checks_files_without_storing_them(store: LocalStore) -> None:
    form = FormUpload(CONTENT_TYPE, "job", store, Limits(), dry_run=True).finish(BODY)
    assert [file.kind for file in form.files] == ["jpeg", None]
    assert stored(store) == []


def test_a_refused_form_stores_nothing(store: LocalStore) -> None:
    def refuse() -> None:
        raise RequestError(429, "too_many_jobs", "full")

    form = FormUpload(CONTENT_TYPE, "job", store, Limits(), admit=refuse)
    with pytest.raises(RequestError, match="full"):
        form.feed(BODY)
    assert stored(store) == []


@pytest.mark.parametrize("cut", range(0, len(BODY) - 20, 37))
def test_a_truncated_form_is_malformed(store: LocalStore, cut: int) -> None:
    form = form_upload(store)
    form.feed(BODY[:cut])
    with pytest.raises(RequestError) as refused:
        form.finish(b"")
    assert (refused.value.status, refused.value.code) == (400, "malformed_multipart")
    form.abort()
    assert stored(store) == []


def test_a_file_is_refused_at_the_first_byte_above_its_limit(store: LocalStore) -> None:
    form_upload(store, max_file_bytes=len(TRICKY)).feed(BODY)
    form = form_upload(store, max_file_bytes=len(TRICKY) - 1)
    with pytest.raises(RequestError) as refused:
        form.feed(BODY)
    form.abort()
    assert (refused.value.status, refused.value.code) == (413, "too_large_file")


def test_an_endless_header_is_refused(store: LocalStore) -> None:
    form = form_upload(store)
    form.feed(b"--B B\r\nX-Endless: ")
    with pytest.raises(RequestError, match="multipart"):
        form.feed(b"x" * 100_000)
