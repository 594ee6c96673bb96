"""Inputs of `penstock run`: each file is listed once, under a unique name, one folder at a time."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from run_folders import DEPTH, deep_folder

from penstock.common.model.errors import RequestError
from penstock.common.model.result_names import ResultNames
from penstock.local.inputs import InputFile, Inputs

JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 60


def write_jpegs(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)


def ignore(name: str, reason: str) -> None:
    pass


def stems(paths: list[Path | str], out: Path, on_ignored: Callable[[str, str], object] = ignore) -> list[str]:
    return [file.stem for file in Inputs([str(path) for path in paths], out).files(on_ignored)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_has_its_name_stem_size_and_time(here: Path) -> None:
    write_jpegs(here, "a/x.jpg")
    [file] = Inputs(["a/x.jpg"], Path("out")).files(ignore)
    status = (here / "a/x.jpg").stat()
    assert file == InputFile(str(here / "a/x.jpg"), "x.jpg", "x", status.st_size, status.st_mtime_ns)


def test_names_are_paths_relative_to_the_common_folder(here: Path) -> None:
    write_jpegs(here, "a/x.jpg", "b/x.jpg", "b/c/x.jpg")
    assert stems(["a/x.jpg", "b"], here / "out") == ["a/x", "b/x", "b/c/x"]


def test_folders_are_walked_in_order_without_hidden_ones(here: Path) -> None:
    write_jpegs(here, "in/b.jpg", "in/a.jpg", "in/d/1.jpg", "in/c/1.jpg", "in/.git/1.jpg", "in/.hidden.jpg")
    assert stems(["in"], here / "out") == ["a", "b", "c/1", "d/1"]


def test_a_file_named_several_times_is_listed_once(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "in/b/c.jpg")
    inputs: list[Path | str] = ["in", "in/", "./in", "in/b", "in/a.jpg", "in/*.jpg", "in/**", here / "in"]
    assert stems(inputs, here / "out") == ["a", "b/c"]


def test_a_folder_whose_name_is_a_prefix_of_another_does_not_contain_it(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "in-2/a.jpg")
    assert stems(["in", "in-2"], here / "out") == ["in/a", "in-2/a"]


@pytest.mark.parametrize("path", ["gone", "gone.jpg", "in/*.tif", "", "in/gone/**"])
def test_a_path_that_does_not_exist_is_refused(here: Path, path: str) -> None:
    write_jpegs(here, "in/a.jpg")
    with pytest.raises(RequestError) as caught:
        Inputs(["in", path], here / "out")
    assert caught.value.message.startswith(f"{path}: no such file or folder")


def test_brackets_are_part_of_the_name_if_such_a_file_exists(here: Path) -> None:
    write_jpegs(here, "x[1].jpg", "x1.jpg")
    assert stems(["x[1].jpg"], here / "out") == ["x[1]"]
    assert stems(["x[2-9].jpg", "x[[]1].jpg"][1:], here / "out") == ["x[1]"]


def test_files_in_the_results_folder_are_no_inputs(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "in/out/a-0.jpg", "in/out/deep/a-1.jpg")
    for given in (["in"], ["in/*"], ["in/**"], ["in/a.jpg", "in/out/a-0.jpg"], ["in", "in/out"]):
        assert stems([*given], here / "in/out") == ["a"], given
    assert stems(["in/out/a-0.jpg"], here / "in/out") == ["a-0"], "unless nothing else is given"


@pytest.mark.parametrize(("given", "out"), [(["in"], "in"), (["in/a", "in/b"], "in"), (["in/a/../"], "in")])
def test_the_results_folder_must_not_be_the_input_folder(here: Path, given: list[str], out: str) -> None:
    write_jpegs(here, "in/a/x.jpg", "in/b/x.jpg")
    with pytest.raises(RequestError, match="is the input folder itself; choose another folder"):
        Inputs(given, Path(out))


def test_images_are_recognized_by_suffix_or_content(here: Path) -> None:
    write_jpegs(here, "in/a.JPG", "in/b.jfif", "in/c", "in/d.bin")
    (here / "in/e.txt").write_text("no image")
    (here / "in/f").touch()
    ignored: dict[str, str] = {}
    assert stems(["in"], here / "out", ignored.__setitem__) == ["a", "b", "c", "d"]
    assert set(ignored) == {"e.txt", "f"}
    assert ignored["f"] == "empty"
    assert stems(["in/e.txt"], here / "out") == ["e"], "a file named explicitly is listed, and fails later"


def test_broken_links_and_pipes_are_ignored_and_named(here: Path) -> None:
    write_jpegs(here, "in/a.jpg")
    (here / "in/gone.jpg").symlink_to("nowhere")
    (here / "in/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(here / "in/pipe.jpg")
    ignored: dict[str, str] = {}
    files = list(Inputs(["in"], here / "out").files(ignored.__setitem__))
    assert [(file.stem, file.size_bytes) for file in files] == [("a", len(JPEG))]
    assert ignored == {
        "gone.jpg": "a link to nothing",
        "loop.jpg": "a link to nothing",
        "pipe.jpg": "neither a file nor a folder",
    }


def test_links_to_images_and_folders_are_followed(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "else/b.jpg", "else/deep/c.jpg")
    (here / "in/folder").symlink_to(here / "else")
    (here / "in/image.jpg").symlink_to("../else/b.jpg")
    ignored: dict[str, str] = {}
    assert stems(["in"], here / "out", ignored.__setitem__) == ["a", "image", "folder/b", "folder/deep/c"]
    assert ignored == {}


def test_links_that_lead_to_each_other_or_back_are_cut(here: Path) -> None:
    write_jpegs(here, "in/a/1.jpg", "in/b/2.jpg")
    (here / "in/around").symlink_to(here / "in")
    (here / "in/a/other").symlink_to(here / "in/b")
    (here / "in/b/other").symlink_to(here / "in/a")
    ignored: dict[str, str] = {}
    found = stems(["in"], here / "out", ignored.__setitem__)
    assert {"a/1", "b/2", "a/other/2"} <= set(found)
    assert len(found) == len(set(found)) < 8
    assert ignored["around"] == ignored["a/other/other"] == "a link to a folder that it is in"


def test_links_cannot_multiply_a_folder(here: Path) -> None:
    write_jpegs(here, "in/30/x.jpg")
    for number in range(30):
        (here / f"in/{number:02}").mkdir()
        for name in "ab":
            (here / f"in/{number:02}/{name}").symlink_to(here / f"in/{number + 1:02}")
    assert "30/x" in stems(["in/00", "in/30"], here / "out")


def test_the_folder_for_results_is_no_input_wherever_a_link_to_it_is(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "out/r.jpg", "out/deep/s.jpg")
    (here / "in/results").symlink_to(here / "out")
    (here / "in/r.jpg").symlink_to(here / "out/r.jpg")
    (here / "in/deep").symlink_to(here / "out/deep")
    ignored: dict[str, str] = {}
    assert stems(["in"], here / "out", ignored.__setitem__) == ["a"]
    assert set(ignored.values()) == {"a link into the folder for results"}
    assert stems(["in/a.jpg", "in/r.jpg"], here / "out") == ["a"]


def test_folders_deeper_than_the_recursion_limit_are_listed(here: Path) -> None:
    with deep_folder(here) as deepest:
        write_jpegs(here, str(deepest / "x.jpg"))
        inputs = Inputs(["d"], here / "out")
        assert [file.stem for file in inputs.files(ignore)] == ["/".join("d" * (DEPTH - 1)) + "/x"]
        assert inputs.count() == 1


def test_names_that_differ_in_case_or_composition_are_numbered(here: Path) -> None:
    write_jpegs(here, "in/N/A.jpg", "in/N/a.jpg", "in/n/a.jpg", "in/caf\u00e9.jpg", "in/cafe\u0301.jpg")
    assert stems(["in"], here / "out") == ["caf\u00e9", "caf\u00e9~2", "N/A", "N/a~2", "n~2/a"]
    assert stems(["in/N", "in/n"], here / "out") == ["N/A", "N/a~2", "n~2/a"]


def test_inputs_without_an_image_are_refused_by_what_they_are(here: Path) -> None:
    write_jpegs(here, "in/out/a.jpg")
    (here / "in/b.HEIF").write_bytes(b"GIF89a")
    (here / "in/c.txt").write_text("no image")
    (here / "in/d.mov").write_bytes(b"\0\0\0\x14ftypqt  ")
    (here / "empty").mkdir()
    with pytest.raises(RequestError, match=r"^no images in empty$"):
        Inputs(["empty"], here / "out").check_any()
    (here / "in/b.HEIF").unlink()
    with pytest.raises(RequestError, match=r"^no images in in: c.txt is .*, d.mov is QuickTime .video.$"):
        Inputs(["in"], here / "in/out").check_any()


def test_a_folder_that_disappears_is_listed_as_a_file_that_cannot_be_read(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "in/sub/b.jpg")
    inputs = Inputs(["in"], here / "out")
    files = inputs.files(ignore)
    assert next(files).stem == "a"
    (here / "in/sub/b.jpg").unlink()
    (here / "in/sub").rmdir()
    assert [file.name for file in files] == ["sub"]
    assert inputs.count() == 1


def test_names_of_arbitrary_bytes_become_valid_unicode(here: Path) -> None:
    folder = os.fsencode(here / "in")
    os.mkdir(folder)
    for name in (b"caf\xe9.jpg", b"caf\\xe9.jpg", "ü\n.jpg".encode()):
        with open(folder + b"/" + name, "wb") as opened:
            opened.write(JPEG)
    files = list(Inputs(["in"], here / "out").files(ignore))
    assert len({file.stem for file in files}) == 3
    assert all(file.name.encode("utf-8") for file in files)
    assert all(os.path.exists(file.path) for file in files)


def test_count_includes_files_that_are_no_images(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "in/b/c.jpg", "x.jpg", "in/out/no.jpg")
    (here / "in/notes.txt").write_text("no image")
    assert Inputs(["in", "x.jpg"], here / "in/out").count() == 4


def test_ten_thousand_nested_inputs_do_not_take_quadratic_time(here: Path) -> None:
    for number in range(10_000):
        (here / f"in/{number}").mkdir(parents=True)
    write_jpegs(here, "in/77/x.jpg")
    assert stems(["in/*"], here / "out") == ["77/x"]


def test_memory_is_bounded_by_one_folder_and_not_by_all(here: Path) -> None:
    for folder in range(100):
        (here / f"in/{folder:03}").mkdir(parents=True)
        for number in range(50):
            os.link(here / "in/000/0.jpg", here / f"in/{folder:03}/{number}.jpg") if folder or number else write_jpegs(
                here, "in/000/0.jpg"
            )
    files = Inputs(["in"], here / "out").files(ignore)
    tracemalloc.start()
    try:
        list(islice(files, 200))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert sum(1 for _ in files) == 4_800
        grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert grown < 256 * 1024


def test_images_have_the_sidecars_beside_them_which_are_not_counted(here: Path) -> None:
    write_jpegs(here, "in/a.jpg", "in/b.jpg", "in/c/a.jpg", "d.jpg")
    sidecars = ("in/A.JPG.regions.json", "in/b.regions.json", "in/c/gone.regions.json", "D.jpg.regions.json")
    for name in sidecars:
        (here / name).write_text("[]")
    ignored: list[str] = []
    (here / "lost.regions.json").write_text("[]")
    inputs = Inputs(["in", "d.jpg", "lost.regions.json"], here / "out")
    files = inputs.files(lambda name, _: ignored.append(name))
    found = {file.name: file.sidecar and file.sidecar.path for file in files}
    assert found == {
        "d.jpg": str(here / "D.jpg.regions.json"),
        "in/a.jpg": str(here / "in/A.JPG.regions.json"),
        "in/b.jpg": str(here / "in/b.regions.json"),
        "in/c/a.jpg": None,
    }
    assert ignored == ["lost.regions.json", "in/c/gone.regions.json"]


@pytest.mark.parametrize(
    ("names", "output", "refused"),
    [
        ("{folder}/{stem}.{ext}", "jpg", True),
        ("{folder}/{stem}.{ext}", "keep", True),
        ("{folder}/{stem}.{ext}", "png", False),
        ("{folder}/{stem}-{part}.{ext}", "jpg", False),
        ("deep/{folder}/{stem}.{ext}", "jpg", False),
    ],
)
def test_results_above_their_inputs_are_refused_if_one_would_be_an_input(
    here: Path, names: str, output: str, refused: bool
) -> None:
    write_jpegs(here, "in/a.jpg", "in/b/in/a.jpg")
    inputs = Inputs(["in"], here)
    inputs.check_apart(ResultNames(names), output)
    write_jpegs(here, "in/IN/a.jpeg")
    inputs = Inputs(["in"], here)
    if refused:
        with pytest.raises(RequestError, match=r"a result of IN/a.jpeg would overwrite the input .*in/a\.jpg"):
            inputs.check_apart(ResultNames(names), output)
    else:
        inputs.check_apart(ResultNames(names), output)


def test_a_file_named_in_the_folder_for_results_is_ignored_by_name(here: Path) -> None:
    for name in ("in/a.jpg", "out/b.jpg"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(b"\xff\xd8\xff")
    ignored: dict[str, str] = {}
    inputs = Inputs(["in/a.jpg", "out/b.jpg"], here / "out")
    assert [file.stem for file in inputs.files(ignored.__setitem__)] == ["a"]
    assert ignored == {str(here / "out" / "b.jpg"): "in the folder for results"}
    assert inputs.count() == 2
