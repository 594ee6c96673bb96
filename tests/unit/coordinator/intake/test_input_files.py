"""Input files: large folders, deep folders, files that disappear, and names that could collide."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest
from run_folders import DEPTH, deep_folder

from penstock.client.local_files import find_photos
from penstock.common.image_header import TYPES
from penstock.common.input_root import InputRoot
from penstock.common.model.errors import ImageError, RequestError
from penstock.common.model.jobs import Prefix
from penstock.common.model.result_names import SINGLE, ResultNames
from penstock.common.settings import Limits
from penstock.common.store.local import LocalStore
from penstock.coordinator.intake.inputs.files import FoundFile, LocalInputs, find_files, locate
from penstock.coordinator.intake.skipped_files import SkippedFiles
from penstock.local.inputs import Inputs
from penstock.worker.image_sources import ImageSources


def found_in(located: LocalInputs, skipped: SkippedFiles | None = None) -> Iterator[FoundFile]:
    return find_files(located, ResultNames(SINGLE), skipped or SkippedFiles(), TYPES)


def test_a_folder_inside_another_input_is_not_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jpg").touch()
    located = locate(
        InputRoot(tmp_path), [Prefix(prefix="a/b"), Prefix(prefix="a"), "a/b/x.jpg", Prefix(prefix="a/../a")]
    )
    assert (located.folders, located.files) == ([tmp_path / "a"], [])
    assert [file.name for file in found_in(located)] == ["b/x.jpg"]


def test_a_folder_that_could_have_the_name_of_a_result_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "x-0.jpg").mkdir()
    (tmp_path / "x-0.jpg" / "y.jpg").touch()
    (tmp_path / "x.jpg").touch()
    found = list(found_in(locate(InputRoot(tmp_path), [Prefix(prefix=".")])))
    assert [file.stem for file in found] == ["x", "x-0.jpg~/y"]


def test_folders_that_would_have_the_same_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "y.jpg").touch()
    (tmp_path / "x.jpg~").mkdir()
    (tmp_path / "x.jpg~" / "y.jpg").touch()
    for other in (Prefix(prefix="x.jpg~"), "x.jpg~/y.jpg"):
        located = locate(InputRoot(tmp_path), [Prefix(prefix="x.jpg"), other])
        with pytest.raises(RequestError, match="two folders would be called") as refused:
            list(found_in(located))
        assert (refused.value.status, refused.value.code) == (422, "equal_names")


def test_sizes_are_those_of_what_links_lead_to_and_of_files_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "none.jpg").touch()
    found = found_in(locate(InputRoot(tmp_path), [Prefix(prefix=".")]))
    assert [(file.name, file.size_bytes) for file in found] == [("a.jpg", 3), ("link.jpg", 3), ("none.jpg", 0)]


def test_folders_deeper_than_the_recursion_limit_are_listed(tmp_path: Path) -> None:
    with deep_folder(tmp_path) as deepest:
        (deepest / "x.jpg").touch()
        found = list(found_in(locate(InputRoot(tmp_path), [Prefix(prefix=".")])))
    assert [file.name.count("/") for file in found] == [DEPTH]


def test_folders_are_listed_one_at_a_time_in_bounded_memory(tmp_path: Path) -> None:
    for folder in range(40):
        (tmp_path / f"{folder:02}").mkdir()
        for file in range(250):
            (tmp_path / f"{folder:02}" / f"{file:03}.jpg").touch()
    found = found_in(locate(InputRoot(tmp_path), [Prefix(prefix=".")]))
    tracemalloc.start()
    try:
        assert sum(1 for _ in islice(found, 2_000)) == 2_000
        early = tracemalloc.get_traced_memory()[1]
        assert sum(1 for _ in found) == 8_000
        assert tracemalloc.get_traced_memory()[1] < early * 1.5
    finally:
        tracemalloc.stop()


def test_a_folder_deleted_during_the_listing_is_refused_without_showing_its_path(tmp_path: Path) -> None:
    (tmp_path / "root" / "a").mkdir(parents=True)
    located = locate(InputRoot(tmp_path / "root"), [Prefix(prefix="a")])
    (tmp_path / "root" / "a").rmdir()
    with pytest.raises(RequestError) as refused:
        list(found_in(located))
    assert (refused.value.status, refused.value.code) == (422, "source_forbidden")
    assert str(tmp_path) not in refused.value.message


def test_files_deleted_before_they_were_looked_up_have_no_size_and_fail_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (folder / name).write_bytes(b"xyz")
    (tmp_path / "4.jpg").write_bytes(b"xyz")
    found = found_in(locate(InputRoot(tmp_path), ["4.jpg", Prefix(prefix="a")]))
    (tmp_path / "4.jpg").unlink()
    sizes = {}
    for file in found:
        sizes[file.name] = file.size_bytes
        if file.name == "a/1.jpg":
            (folder / "2.jpg").unlink()
    assert sizes == {"4.jpg": None, "a/1.jpg": 3, "a/2.jpg": 3, "a/3.jpg": 3}


@pytest.mark.parametrize("given", ["\0", "a\0b", "x" * 70_000, "~root", "a/" * 3_000])
def test_impossible_paths_are_not_found(tmp_path: Path, given: str) -> None:
    with pytest.raises(RequestError) as refused:
        locate(InputRoot(tmp_path), [given])
    assert refused.value.code == "source_not_found"


def test_images_have_the_sidecars_beside_them(tmp_path: Path) -> None:
    names = (
        "a/x.jpg",
        "a/X.JPG.regions.json",
        "a/y.jpg",
        "a/y.regions.json",
        "a/b/x.jpg",
        "a/gone.regions.json",
        "é.jpg",
    )
    for name in (*names, "e\u0301.JPG.regions.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"[]")
    found = {file.name: file.regions for file in found_in(locate(InputRoot(tmp_path), ["é.jpg", Prefix(prefix="a")]))}
    base = f"file://{tmp_path}"
    assert found == {
        "é.jpg": f"{base}/e%CC%81.JPG.regions.json",
        "a/x.jpg": f"{base}/a/X.JPG.regions.json",
        "a/y.jpg": f"{base}/a/y.regions.json",
        "a/b/x.jpg": None,
    }


def test_links_below_the_root_are_followed_and_cycles_are_cut(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a/1.jpg", "b/2.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"xyz")
    (root / "a" / "folder").symlink_to(root / "b")
    (root / "a" / "file.jpg").symlink_to("../b/2.jpg")
    (root / "b" / "back").symlink_to(root)
    found = {file.name: file.size_bytes for file in found_in(locate(InputRoot(root), [Prefix(prefix="a")]))}
    assert {name: size for name, size in found.items() if not name.startswith("folder/back")} == {
        "1.jpg": 3,
        "file.jpg": 3,
        "folder/2.jpg": 3,
    }
    assert len(found) < 10


def test_links_out_of_the_root_are_inputs_of_unknown_size_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / ".hidden").mkdir(parents=True)
    (root / ".hidden" / "3.jpg").write_bytes(b"hidden")
    (root / "1.jpg").write_bytes(b"xyz")
    (root / "file.jpg").symlink_to("../outside/secret.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "hidden.jpg").symlink_to(".hidden/3.jpg")
    skipped = SkippedFiles()
    found = {file.name: file.ref for file in found_in(locate(InputRoot(root), [Prefix(prefix=".")]), skipped)}
    assert set(found) == {"1.jpg", "file.jpg", "folder"}
    assert skipped.first == [("gone.jpg", "a link to nothing"), ("hidden.jpg", "a link to something hidden")]
    sources = ImageSources(LocalStore(tmp_path / "store"), Limits(), InputRoot(root))
    for name in ("file.jpg", "folder"):
        with pytest.raises(ImageError) as refused:
            sources.read(found[name])
        assert refused.value.code == "source_forbidden"


def test_a_folder_is_taken_as_run_and_submit_take_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    contents = {"anim.gif": b"GIF89a", "empty.jpg": b"", "notes.txt": b"no image", "x": b"\xff\xd8\xff\xe0", "e": b""}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "lost.jpg.regions.json").write_text("[]")
    os.mkfifo(folder / "pipe.jpg")
    expected = [
        ("anim.gif", "GIF"),
        ("e", "empty"),
        ("gone.jpg", "a link to nothing"),
        ("lost.jpg.regions.json", "a sidecar without its image"),
    ]
    expected += [("notes.txt", "text"), ("pipe.jpg", "neither a file nor a folder")]
    skipped = SkippedFiles()
    names = [file.name for file in found_in(locate(InputRoot(tmp_path), [Prefix(prefix="in")]), skipped)]
    assert (names, sorted(skipped.first)) == (["empty.jpg", "x"], expected)
    for find in (run_names, submit_names):
        ignored: dict[str, str] = {}
        assert find(folder, ignored.__setitem__) == names
        assert sorted(ignored.items()) == expected


def run_names(folder: Path, on_ignored: Callable[[str, str], object]) -> list[str]:
    return [file.name for file in Inputs([str(folder)], folder.parent / "out").files(on_ignored)]


def submit_names(folder: Path, on_ignored: Callable[[str, str], object]) -> list[str]:
    return [file.name for file in find_photos(folder, on_ignored)]


def test_names_that_differ_in_case_or_composition_are_numbered(tmp_path: Path) -> None:
    for name in ("N/A.jpg", "N/a.jpg", "n/a.jpg", "caf\u00e9/1.jpg", "cafe\u0301/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    stems = [file.stem for file in found_in(locate(InputRoot(tmp_path), [Prefix(prefix=".")]))]
    assert stems == ["N/A", "N/a~2", "caf\u00e9/1", "caf\u00e9~2/1", "n~2/a"]


def test_a_link_swapped_in_during_the_listing_shows_no_names_outside(tmp_path: Path) -> None:
    for name in "root/a/b/inside.jpg", "outside/secret.jpg":
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("outside")
    changing, done = tmp_path / "root" / "a" / "b", threading.Event()

    def swap() -> None:
        while not done.is_set():
            for current, other in (("kept", "link"), ("link", "kept")):
                os.rename(changing, tmp_path / current)
                os.rename(tmp_path / other, changing)

    thread = threading.Thread(target=swap)
    thread.start()
    names: set[str] = set()
    try:
        for _ in range(1_000):
            with suppress(RequestError):
                names.update(file.name for file in found_in(locate(InputRoot(tmp_path / "root"), [Prefix(prefix="a")])))
    finally:
        done.set()
        thread.join()
    assert "b/inside.jpg" in names
    assert not [name for name in names if "secret" in name]
