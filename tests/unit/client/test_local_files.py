"""Local files: images to upload are found and read; results are saved complete, verified, and below their folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from penstock.client.errors import DamagedError, LocalFileError
from penstock.client.local_files import AtomicFile, find_photos, is_saved, target_path
from penstock.local.inputs import Inputs

JPEG = b"\xff\xd8\xff\xe0 and so on"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("photos/a.jpg", "photos/north/b.PNG", "photos/north/image", "photos/.hidden/c.jpg", "photos/.d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "photos" / "a.jpg")
    return tmp_path


def names(*paths: object) -> list[str]:
    return [photo.name for photo in find_photos([str(path) for path in paths])]


def test_images_in_folders_are_found_by_name_or_first_bytes(folder: Path) -> None:
    assert names(folder / "photos") == ["a.jpg", "link.jpg", "north/b.PNG", "north/image"]


def test_files_are_found_once_and_named_relative_to_their_common_folder(folder: Path) -> None:
    inside = folder / "photos" / "north"
    assert names(inside, folder / "photos" / "notes.txt", inside / "b.PNG") == [
        "north/b.PNG",
        "north/image",
        "notes.txt",
    ]
    assert names(folder / "photos" / "a.jpg") == ["a.jpg"]


def test_one_path_means_a_list_of_one(folder: Path) -> None:
    assert find_photos(str(folder / "photos")) == find_photos(folder / "photos") == find_photos([folder / "photos"])
    assert find_photos(()) == []


def test_globs_are_expanded_and_a_path_that_matches_nothing_is_refused(folder: Path) -> None:
    assert names(folder / "photos" / "**" / "*.PNG") == ["b.PNG"]
    for path in ("nothing.jpg", "*.nothing"):
        with pytest.raises(LocalFileError, match="no such file or folder"):
            names(folder / path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_are_skipped(folder: Path) -> None:
    os.mkfifo(folder / "photos" / "pipe")
    os.mkfifo(folder / "photos" / "pipe.jpg")
    assert names(folder / "photos") == ["a.jpg", "link.jpg", "north/b.PNG", "north/image"]


@pytest.mark.skipif(os.mkdir not in os.supports_dir_fd, reason="no paths that are too long can be made here")
def test_a_folder_that_cannot_be_read_is_an_error(folder: Path) -> None:
    below = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=below)
        deeper = os.open("x" * 250, os.O_RDONLY, dir_fd=below)
        os.close(below)
        below = deeper
    os.close(below)
    with pytest.raises(LocalFileError, match="File name too long"):
        names(folder)


@pytest.mark.parametrize("raw", [b"caf\xe9.jpg", b"a\\b.jpg", b"a\x01b.jpg"])
def test_invalid_names_are_changed_and_stay_different(tmp_path: Path, raw: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + raw
    Path(os.fsdecode(path)).write_bytes(JPEG)
    [photo] = find_photos([tmp_path])
    assert photo.name.isprintable()
    assert "\\" not in photo.name
    assert hashlib.sha256(raw).hexdigest()[:8] in photo.name
    assert b"".join(photo.iter_bytes()) == JPEG


def test_a_file_that_changes_during_the_upload_is_refused(folder: Path) -> None:
    path = folder / "photos" / "a.jpg"
    [photo] = find_photos([path])
    assert photo.digest() == hashlib.sha256(JPEG).digest()
    for data in (JPEG + b"more", JPEG[:-1]):
        path.write_bytes(data)
        with pytest.raises(LocalFileError, match="changed during the upload"):
            photo.digest()
    path.unlink()
    with pytest.raises(LocalFileError, match="No such file"):
        photo.digest()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a/", "x\0y", "a\n", "\x9b2J"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalFileError, match="could lead out"):
        target_path(tmp_path, name)


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "north").symlink_to(tmp_path)
    with pytest.raises(LocalFileError, match="a link leads out"):
        target_path(tmp_path / "out", "north/x.jpg")
    assert target_path(tmp_path / "out", "south/x.jpg") == tmp_path / "out" / "south" / "x.jpg"


def test_a_file_gets_its_name_when_it_is_complete_and_verified(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"onetwo").hexdigest()
    target = tmp_path / "north" / "x.jpg"
    file = AtomicFile(target, digest)
    file.write(b"one")
    assert not target.exists()
    file.write(b"two")
    file.commit()
    file.abort()
    assert target.read_bytes() == b"onetwo"
    assert is_saved(target, 6, digest)
    assert not is_saved(target, 6, "ab" * 32)
    assert not is_saved(target, 5, digest)
    assert not is_saved(tmp_path / "none", 6, digest)


def test_a_damaged_file_is_removed_and_the_previous_one_stays(tmp_path: Path) -> None:
    target = tmp_path / "x.jpg"
    target.write_bytes(b"before")
    file = AtomicFile(target, hashlib.sha256(b"right").hexdigest(), replace=True)
    file.write(b"wrong")
    with pytest.raises(DamagedError):
        file.commit()
    file.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["x.jpg"]
    assert target.read_bytes() == b"before"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("way", ["file", "link to nothing"])
def test_a_file_that_is_there_is_replaced_only_on_request(tmp_path: Path, when: str, way: str) -> None:
    target, digest = tmp_path / "x.jpg", hashlib.sha256(b"new").hexdigest()

    def appear() -> None:
        if way == "file":
            target.write_bytes(b"mine")
        else:
            target.symlink_to(tmp_path / "nothing")

    def save(*, replace: bool) -> None:
        file = AtomicFile(target, digest, replace=replace)
        if when == "meanwhile" and not replace:
            appear()
        file.write(b"new")
        try:
            file.commit()
        finally:
            file.abort()

    if when == "before":
        appear()
    with pytest.raises(LocalFileError, match="is there already, with other content"):
        save(replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.jpg"]
    assert target.is_symlink() or target.read_bytes() == b"mine"
    save(replace=True)
    assert target.read_bytes() == b"new"
    assert not (tmp_path / "nothing").exists()


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFileError, match="cannot be written"):
        AtomicFile(tmp_path / "file" / "x.jpg", "")


def test_the_sidecars_of_images_are_uploaded_under_the_names_of_their_images(folder: Path) -> None:
    photos = folder / "photos"
    (photos / "back\\slash.jpg").write_bytes(JPEG)
    for name in ("a.jpg", "north/b", "gone.jpg", "back\\slash.jpg"):
        (photos / f"{name}.regions.json").write_text("[]")
    found = names(photos)
    [odd] = [name for name in found if name.startswith("back") and name.endswith(".jpg")]
    assert sorted(found) == sorted(
        [
            "a.jpg",
            "a.jpg.regions.json",
            odd,
            f"{odd}.regions.json",
            "link.jpg",
            "north/b.PNG",
            "north/b.regions.json",
            "north/image",
        ]
    )
    assert names(photos / "a.jpg") == ["a.jpg", "a.jpg.regions.json"]


def test_links_are_followed_and_what_is_left_out_is_named(folder: Path) -> None:
    photos = folder / "photos"
    (photos / "south").symlink_to(photos / "north")
    (photos / "gone.jpg").symlink_to("nowhere")
    (photos / "around").symlink_to(folder)
    skipped: dict[str, str] = {}
    found = [photo.name for photo in find_photos(photos, skipped.__setitem__)]
    assert found == ["a.jpg", "link.jpg", "north/b.PNG", "north/image", "south/b.PNG", "south/image"]
    assert skipped.pop("notes.txt")
    assert skipped == {"gone.jpg": "a link to nothing", "around/photos": "a folder that a link in it leads to"}


def test_files_of_the_same_name_have_names_of_their_own_as_in_a_run(tmp_path: Path) -> None:
    for name in ("IMG_1.JPG", "img_1.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg"):
        (tmp_path / name).write_bytes(JPEG)
    (tmp_path / "img_1.jpg.regions.json").write_text("[]")
    assert set(names(tmp_path)) == {
        "IMG_1.JPG", "img_1~2.jpg", "img_1~2.jpg.regions.json", "caf\u00e9.jpg", "caf\u00e9~2.jpg"
    }  # fmt: skip
    run = {file.name for file in Inputs([str(tmp_path)], tmp_path / "out").files(lambda *_: None)}
    assert run == {name for name in names(tmp_path) if not name.endswith(".json")}
