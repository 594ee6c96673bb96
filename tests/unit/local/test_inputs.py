"""What `penstock run` is pointed at: each picture once, under a name of its own, and folders one at a time."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from penstock.common.model.errors import RequestError
from penstock.local.inputs import Inputs, Source

JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 60


def plant(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)


def stems(paths: list[Path | str], out: Path, passed_over: Callable[[str], object] = print) -> list[str]:
    return [source.stem for source in Inputs([str(path) for path in paths], out).sources(passed_over)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_named_after_itself_and_knows_its_size_and_time(here: Path) -> None:
    plant(here, "a/x.jpg")
    [source] = Inputs(["a/x.jpg"], Path("out")).sources(print)
    status = (here / "a/x.jpg").stat()
    assert source == Source(str(here / "a/x.jpg"), "x.jpg", "x", status.st_size, status.st_mtime_ns)


def test_names_tell_files_of_several_folders_apart_by_their_paths_below_the_common_one(here: Path) -> None:
    plant(here, "a/x.jpg", "b/x.jpg", "b/c/x.jpg")
    assert stems(["a/x.jpg", "b"], here / "out") == ["a/x", "b/x", "b/c/x"]


def test_folders_are_walked_in_order_and_hidden_ones_left_out(here: Path) -> None:
    plant(here, "in/b.jpg", "in/a.jpg", "in/d/1.jpg", "in/c/1.jpg", "in/.git/1.jpg", "in/.hidden.jpg")
    assert stems(["in"], here / "out") == ["a", "b", "c/1", "d/1"]


def test_what_is_named_twice_is_taken_once(here: Path) -> None:
    plant(here, "in/a.jpg", "in/b/c.jpg")
    inputs: list[Path | str] = ["in", "in/", "./in", "in/b", "in/a.jpg", "in/*.jpg", "in/**", here / "in"]
    assert stems(inputs, here / "out") == ["a", "b/c"]


def test_folders_that_begin_alike_are_not_one_inside_the_other(here: Path) -> None:
    plant(here, "in/a.jpg", "in-2/a.jpg")
    assert stems(["in", "in-2"], here / "out") == ["in/a", "in-2/a"]


@pytest.mark.parametrize("path", ["gone", "gone.jpg", "in/*.tif", "", "in/gone/**"])
def test_what_leads_nowhere_is_refused_by_name(here: Path, path: str) -> None:
    plant(here, "in/a.jpg")
    with pytest.raises(RequestError) as caught:
        Inputs(["in", path], here / "out")
    assert caught.value.message.startswith(f"{path}: no such file or folder")


def test_a_name_with_brackets_is_a_name_where_there_is_such_a_file(here: Path) -> None:
    plant(here, "x[1].jpg", "x1.jpg")
    assert stems(["x[1].jpg"], here / "out") == ["x[1]"]
    assert stems(["x[2-9].jpg", "x[[]1].jpg"][1:], here / "out") == ["x[1]"]


def test_results_are_no_inputs_wherever_they_turn_up(here: Path) -> None:
    plant(here, "in/a.jpg", "in/out/a-0.jpg", "in/out/deep/a-1.jpg")
    for given in (["in"], ["in/*"], ["in/**"], ["in/a.jpg", "in/out/a-0.jpg"], ["in", "in/out"]):
        assert stems([*given], here / "in/out") == ["a"], given
    assert stems(["in/out/a-0.jpg"], here / "in/out") == ["a-0"], "unless nothing else is given"


@pytest.mark.parametrize(("given", "out"), [(["in"], "in"), (["in/a", "in/b"], "in"), (["in/a/../"], "in")])
def test_results_may_not_lie_among_the_pictures_of_a_folder(here: Path, given: list[str], out: str) -> None:
    plant(here, "in/a/x.jpg", "in/b/x.jpg")
    with pytest.raises(RequestError, match="choose another --out"):
        Inputs(given, Path(out))


def test_pictures_are_told_by_name_or_by_content(here: Path) -> None:
    plant(here, "in/a.JPG", "in/b.jfif", "in/c", "in/d.bin")
    (here / "in/e.txt").write_text("no picture")
    (here / "in/f").touch()
    over: list[str] = []
    assert stems(["in"], here / "out", over.append) == ["a", "b", "c", "d"]
    assert sorted(over) == [str(here / "in/e.txt"), str(here / "in/f")]
    assert stems(["in/e.txt"], here / "out") == ["e"], "named by itself, it is taken and fails with its reason"


def test_links_that_lead_nowhere_are_taken_and_links_to_folders_are_not_followed(here: Path) -> None:
    plant(here, "in/a.jpg")
    (here / "in/gone.jpg").symlink_to("nowhere")
    (here / "in/loop.jpg").symlink_to("loop.jpg")
    (here / "in/around").symlink_to(here / "in")
    os.mkfifo(here / "in/pipe.jpg")
    sources = list(Inputs(["in"], here / "out").sources(print))
    assert [source.stem for source in sources] == ["a", "gone", "loop"]
    assert [source.size_bytes for source in sources] == [len(JPEG), 0, 0]


def test_a_folder_that_goes_away_is_taken_as_a_picture_that_cannot_be_read(here: Path) -> None:
    plant(here, "in/a.jpg", "in/sub/b.jpg")
    inputs = Inputs(["in"], here / "out")
    sources = inputs.sources(print)
    assert next(sources).stem == "a"
    (here / "in/sub/b.jpg").unlink()
    (here / "in/sub").rmdir()
    assert [source.name for source in sources] == ["sub"]
    assert inputs.count() == 1


def test_names_of_any_bytes_become_text_that_can_be_written(here: Path) -> None:
    folder = os.fsencode(here / "in")
    os.mkdir(folder)
    for name in (b"caf\xe9.jpg", b"caf\\xe9.jpg", "ü\n.jpg".encode()):
        with open(folder + b"/" + name, "wb") as file:
            file.write(JPEG)
    sources = list(Inputs(["in"], here / "out").sources(print))
    assert len({source.stem for source in sources}) == 3
    assert all(source.name.encode("utf-8") for source in sources)
    assert all(os.path.exists(source.path) for source in sources)


def test_count_counts_files_without_a_look_at_them(here: Path) -> None:
    plant(here, "in/a.jpg", "in/b/c.jpg", "x.jpg", "in/out/no.jpg")
    (here / "in/notes.txt").write_text("no picture")
    assert Inputs(["in", "x.jpg"], here / "in/out").count() == 4


def test_ten_thousand_folders_are_sorted_out_in_no_time(here: Path) -> None:
    for number in range(10_000):
        (here / f"in/{number}").mkdir(parents=True)
    plant(here, "in/77/x.jpg")
    assert stems(["in/*"], here / "out") == ["77/x"]


def test_memory_follows_one_folder_and_not_all_of_them(here: Path) -> None:
    for folder in range(100):
        (here / f"in/{folder:03}").mkdir(parents=True)
        for number in range(50):
            os.link(here / "in/000/0.jpg", here / f"in/{folder:03}/{number}.jpg") if folder or number else plant(
                here, "in/000/0.jpg"
            )
    sources = Inputs(["in"], here / "out").sources(print)
    tracemalloc.start()
    try:
        list(islice(sources, 200))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert sum(1 for _ in sources) == 4_800
        grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert grown < 256 * 1024
