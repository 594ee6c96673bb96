"""ImageSources: uploads and files below one folder, and nothing else, whatever names and links say."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from penstock.common.input_root import WHOLE_HOST, InputRoot
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.worker.image_sources import ImageSources


@pytest.fixture
def sources(tmp_path: Path) -> ImageSources:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x.jpg").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "y").write_bytes(b"beside")
    return ImageSources(LocalStore(tmp_path / "store"), Limits(max_file_bytes=100), InputRoot(tmp_path / "root"))


def code_of(sources: ImageSources, ref: str) -> ImageCode:
    with pytest.raises(ImageError) as caught:
        sources.read(ref)
    return caught.value.code


def url(path: Path | bytes) -> str:
    return f"file://{quote(os.fsencode(path))}"


def test_uploads_are_read_from_the_store(sources: ImageSources, tmp_path: Path) -> None:
    LocalStore(tmp_path / "store").put("uploads/u/0", [b"image"])
    assert sources.read("uploads/u/0") == b"image"
    assert code_of(sources, "uploads/u/1") == ImageCode.SOURCE_NOT_FOUND


def test_files_below_the_root_are_read_whatever_their_names(sources: ImageSources, tmp_path: Path) -> None:
    for name in (b"x.jpg", b"caf\xe9 100%?#.jpg", "\u202eü".encode(), b"a;b"):
        path = os.fsencode(tmp_path / "root") + b"/" + name
        with open(path, "wb") as file:
            file.write(name)
        assert sources.read(url(path)) == name


def test_files_outside_the_root_are_forbidden_however_they_are_named(sources: ImageSources, tmp_path: Path) -> None:
    (tmp_path / "root" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "root" / "way").symlink_to(tmp_path)
    for path in ("secret", "root/../secret", "root/link", "root/way/secret", "rooted/y", "root/way/rooted/y"):
        assert code_of(sources, url(tmp_path / path)) == ImageCode.SOURCE_FORBIDDEN, path


def test_without_a_root_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    closed = ImageSources(LocalStore(tmp_path / "store"), Limits(), None)
    assert code_of(closed, url(tmp_path / "x")) == ImageCode.SOURCE_FORBIDDEN


def test_what_is_no_regular_file_is_not_found_and_does_not_block(sources: ImageSources, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root" / "pipe")
    (tmp_path / "root" / "folder").mkdir()
    for name in ("pipe", "folder", "gone", "x.jpg/below"):
        assert code_of(sources, url(tmp_path / "root" / name)) == ImageCode.SOURCE_NOT_FOUND, name
    (tmp_path / "root" / "loop").symlink_to("loop")
    assert code_of(sources, url(tmp_path / "root" / "loop")) == ImageCode.SOURCE_FORBIDDEN


def test_a_file_that_is_too_large_is_not_read(sources: ImageSources, tmp_path: Path) -> None:
    with open(tmp_path / "root" / "huge", "wb") as file:
        file.truncate(1 << 40)
    assert code_of(sources, url(tmp_path / "root" / "huge")) == ImageCode.TOO_LARGE_FILE
    store = LocalStore(tmp_path / "store")
    store.put("uploads/u/0", [b"x" * 101])
    assert code_of(sources, "uploads/u/0") == ImageCode.TOO_LARGE_FILE
    store.put("uploads/u/0", [b"x" * 100])
    assert len(sources.read("uploads/u/0")) == 100


def test_the_whole_host_may_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    assert ImageSources(LocalStore(tmp_path / "store"), Limits(), WHOLE_HOST).read(url(tmp_path / "x")) == b"x"
