"""Input root: regular files below one folder, without the server's own data, whatever links say."""

from __future__ import annotations

import os
import threading
from itertools import cycle
from pathlib import Path

import pytest

from penstock.common.input_root import DATABASE, InputRoot, input_root, open_regular_file
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.settings import SettingsError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for inputs with a data folder in it, and a folder beside it."""
    for name in "root/x.jpg", "root/a/b/y.jpg", "root/data/store/uploads/u/0", "outside/x.jpg":
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "root"


def read(root: InputRoot, path: Path) -> bytes:
    with root.open(os.fsencode(path)) as (file, status):
        data = file.read()
        assert len(data) == status.st_size
        return data


def refusal(root: InputRoot, path: Path) -> ImageCode:
    with pytest.raises(ImageError) as caught:
        read(root, path)
    return caught.value.code


def test_files_are_read_through_links_that_stay_inside(root: Path) -> None:
    (root / "link.jpg").symlink_to("a/b/y.jpg")
    (root / "folder").symlink_to(root / "a")
    for name in "a/b/y.jpg", "link.jpg", "folder/b/y.jpg", "a/../folder/b/y.jpg":
        assert read(InputRoot(root), root / name) == b"root/a/b/y.jpg", name


def test_a_root_that_is_a_link_may_be_moved_on(root: Path, tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(root)
    inputs = InputRoot(current)
    assert read(inputs, root / "x.jpg") == b"root/x.jpg"
    current.unlink()
    current.symlink_to(tmp_path / "outside")
    assert read(inputs, tmp_path / "outside" / "x.jpg") == b"outside/x.jpg"
    assert refusal(inputs, root / "x.jpg") is ImageCode.SOURCE_FORBIDDEN


def test_hidden_files_are_forbidden_also_behind_links(root: Path) -> None:
    (root / ".env").write_bytes(b"secret")
    (root / "env.jpg").symlink_to(".env")
    for name in ".env", "env.jpg":
        assert refusal(InputRoot(root), root / name) is ImageCode.SOURCE_FORBIDDEN, name


def test_private_folders_are_forbidden_by_whatever_name(root: Path) -> None:
    inputs = InputRoot(root, (root / "a" / ".." / "data",))
    (root / "link").symlink_to("data")
    (root / "file.jpg").symlink_to("data/store/uploads/u/0")
    for name in "data/store/uploads/u/0", "link/store/uploads/u/0", "file.jpg", "data/none":
        assert refusal(inputs, root / name) is ImageCode.SOURCE_FORBIDDEN, name
        assert inputs.is_private((root / name).resolve())
    os.rename(root / "data", root / "a" / "moved")
    inputs = InputRoot(root, (root / "a" / "moved",))
    assert refusal(inputs, root / "a" / "moved" / "store" / "uploads" / "u" / "0") is ImageCode.SOURCE_FORBIDDEN
    assert read(inputs, root / "a" / "b" / "y.jpg") == b"root/a/b/y.jpg"


def test_the_file_of_api_keys_is_private_by_whatever_name(root: Path) -> None:
    keys = root / "keys.json"
    keys.write_text("[]")
    (root / "link.json").symlink_to(keys)
    (root / "same.json").hardlink_to(keys)
    (root / "other.json").write_text("[]")
    made = input_root(root, keys=keys)
    assert made is not None
    for name in ("keys.json", "link.json", "same.json"):
        assert made.is_private((root / name).resolve())
        with pytest.raises(ImageError, match="the server's own data"), made.open(bytes(root / name)):
            pass
    assert not made.is_private(root / "other.json")
    with made.open(bytes(root / "other.json")) as (file, _):
        assert file.read() == b"[]"


def test_a_folder_with_a_database_is_private_without_being_named(root: Path) -> None:
    (root / "data" / DATABASE).write_bytes(b"secret")
    inputs = InputRoot(root)
    for name in f"data/{DATABASE}", "data/store/uploads/u/0":
        assert refusal(inputs, root / name) is ImageCode.SOURCE_FORBIDDEN, name


def test_what_is_no_regular_file_is_refused_at_once_and_leaves_no_descriptor(root: Path) -> None:
    os.mkfifo(root / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for name in "pipe", "a", "gone", "x.jpg/below":
        assert refusal(InputRoot(root), root / name) is ImageCode.SOURCE_NOT_FOUND, name
        with pytest.raises(ImageError), open_regular_file(os.fsencode(root / name)):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("changing", ["a/b/y.jpg", "a/b", "a"])
def test_a_link_that_is_swapped_in_meanwhile_leads_nowhere(root: Path, tmp_path: Path, changing: str) -> None:
    (tmp_path / "outside" / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "a" / "b" / "y.jpg").write_bytes(b"outside")
    (tmp_path / "link").symlink_to(tmp_path / "outside" / changing)
    done = threading.Event()

    def swap() -> None:
        for current, other in cycle([("inside", "link"), ("link", "inside")]):
            os.rename(root / changing, tmp_path / current)
            os.rename(tmp_path / other, root / changing)
            if done.is_set():
                return

    thread = threading.Thread(target=swap)
    thread.start()
    found: set[object] = set()
    try:
        for _ in range(2_000):
            try:
                found.add(read(InputRoot(root), root / "a" / "b" / "y.jpg"))
            except ImageError as error:
                found.add(error.code)
    finally:
        done.set()
        thread.join()
    inside = b"root/a/b/y.jpg"
    assert inside in found
    assert found <= {inside, ImageCode.SOURCE_FORBIDDEN, ImageCode.SOURCE_NOT_FOUND}


def test_a_root_that_is_the_servers_own_data_is_refused(root: Path, tmp_path: Path) -> None:
    data, store = root / "data", root / "data" / "store"
    (tmp_path / "link").symlink_to(data)
    for path in data, tmp_path / "link", store, store / "uploads":
        with pytest.raises(SettingsError, match="the server's own data"):
            input_root(path, data=data, store=store)
    (data / "photos").mkdir()
    assert input_root(data / "photos", data=data, store=store) is not None
    assert input_root(root, data=data, store=store) == InputRoot(root, (data, store))
    assert input_root(None, data=data) is None


def test_folders_are_listed_where_their_files_may_be_read(root: Path, tmp_path: Path) -> None:
    (root / "link").symlink_to("a/b")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / ".hidden").mkdir()
    (root / "data" / DATABASE).write_bytes(b"")
    (root / "data" / "photos").mkdir()

    def listed(inputs: InputRoot, path: Path) -> list[str] | None:
        try:
            with inputs.open_folder(str(path)) as descriptor:
                return sorted(os.listdir(descriptor))
        except PermissionError:
            return None

    inputs = InputRoot(root, (root / "data",))
    assert listed(inputs, root / "link") == listed(inputs, root / "a" / "b") == ["y.jpg"]
    assert listed(inputs, root) is not None
    for name in "out", ".hidden", "data", "data/store", "data/store/uploads", "data/photos":
        assert listed(inputs, root / name) is None, name
    assert listed(InputRoot(root), root / "data") is None
    assert listed(InputRoot(root / "data" / "photos", (root / "data",)), root / "data" / "photos") == []
    assert listed(InputRoot(Path("/")), root / "a" / "b") == ["y.jpg"]
