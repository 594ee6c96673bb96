"""InputSpool: names of inputs, the same in long lists as in short ones, and in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.model.names import distinct, fold, unique_stems
from penstock.common.model.result_names import SINGLE, ResultNames
from penstock.coordinator.intake.inputs.spool import InputSpool, shown_folder
from penstock.local.inputs import Inputs


def names_of(*urls: str, max_files: int = 1_000_000, may_add_parts: bool = False) -> list[tuple[str, str]]:
    """Return the names and stems of URLs that go through a spool."""
    with InputSpool(max_files, ResultNames(SINGLE, may_add_parts)) as spool:
        for url in urls:
            folder, _, name = url.rpartition("/")
            spool.add(shown_folder(folder), name, url)
        return [(file.name, file.stem) for file in spool.files()]


def test_names_start_below_the_common_folder() -> None:
    assert names_of("s3://b/a/1.jpg") == [("1.jpg", "1")]
    assert names_of("s3://b/a/x/1.jpg", "s3://b/a/2.jpg") == [("x/1.jpg", "x/1"), ("2.jpg", "2")]
    assert names_of("s3://b/ax/1.jpg", "s3://b/ay/2.jpg") == [("ax/1.jpg", "ax/1"), ("ay/2.jpg", "ay/2")]
    assert names_of("s3://b/1.jpg", "s3://c/1.jpg") == [("b/1.jpg", "b/1"), ("c/1.jpg", "c/1")]
    assert names_of("s3://b/1.jpg", "gs://b/1.jpg") == [("s3/b/1.jpg", "s3/b/1"), ("gs/b/1.jpg", "gs/b/1")]


def test_an_image_listed_twice_is_returned_once() -> None:
    assert names_of("s3://b/1.jpg", "s3://b/2.jpg", "s3://b/1.jpg") == [("1.jpg", "1"), ("2.jpg", "2")]


@pytest.mark.parametrize("may_add_parts", [False, True])
def test_names_and_stems_are_unique_and_equal_those_of_short_lists(may_add_parts: bool) -> None:
    chooser = random.Random(5)
    for _ in range(600):
        kinds = ["x", "y", "X", "-0", "~2", ".jpg", ".png", ".a", "\u00e9", "e\u0301"]
        parts = ["".join(chooser.choices(kinds, k=chooser.randint(1, 4))) for _ in range(8)]
        names = list(dict.fromkeys(part for part in parts if part.strip(".")))
        found = names_of(*(f"s3://b/{name}" for name in names), may_add_parts=may_add_parts)
        assert [name for name, _ in found] == distinct(names)
        stems = [stem for _, stem in found]
        assert len(set(map(fold, stems))) == len(stems), names
        if not may_add_parts:
            assert stems == unique_stems(names)


def test_keys_that_differ_in_case_alone_have_results_that_stay_apart() -> None:
    assert names_of("s3://b/IMG_1.JPG", "s3://b/img_1.jpg", "s3://b/Img_1.jpg", "s3://b/img_1~3.png") == [
        ("IMG_1.JPG", "IMG_1"),
        ("img_1~2.jpg", "img_1~2"),
        ("Img_1~4.jpg", "Img_1~4"),
        ("img_1~3.png", "img_1~3"),
    ]
    assert names_of("s3://b/N/1.jpg", "s3://b/n/1.jpg") == [("N/1.jpg", "N/1"), ("n~2/1.jpg", "n~2/1")]


def test_folders_whose_names_are_the_same_are_numbered_as_those_of_this_host_are(tmp_path: Path) -> None:
    names = ["D.jpg", "D/A/1.jpg", "D/a/1.jpg", "D/x.JPG/2.jpg", "D/x.jpg/2.jpg", "d/a/3.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0")
    run = {(file.name, file.stem) for file in Inputs([str(tmp_path)], tmp_path.parent / "out").files(lambda *_: None)}
    assert {*names_of(*(f"s3://b/{name}" for name in sorted(names)))} == run
    assert len({fold(stem) for _, stem in run}) == len(names)


def test_names_with_equal_stems_keep_their_suffixes() -> None:
    assert names_of("s3://b/x.jpg", "s3://b/y.jpg", "s3://b/x.png", "s3://b/x.png.jpg") == [
        ("x.jpg", "x.jpg"),
        ("y.jpg", "y"),
        ("x.png", "x.png"),
        ("x.png.jpg", "x.png.jpg"),
    ]


def test_only_colliding_names_of_a_long_list_keep_their_suffixes() -> None:
    names = [f"delft/{number:06}.jpg" for number in range(50_000)] + ["delft/000007.png", "delft/049999.JPEG"]
    stems = dict(names_of(*(f"s3://b/{name}" for name in names)))
    assert [name for name, stem in stems.items() if name == stem] == [
        "000007.jpg",
        "049999.jpg",
        "000007.png",
        "049999.JPEG",
    ]


def test_names_that_are_too_long_are_cut_and_stay_unique() -> None:
    long = "n" * 300
    found = names_of(f"s3://b/{long}/1.jpg", f"s3://b/{long}x/1.jpg", "s3://b/r-0.jpg/1.jpg", f"s3://b/{long}.jpg")
    stems = [stem for _, stem in found]
    assert len(set(stems)) == 4
    assert max(len(part) for stem in stems for part in stem.split("/")) <= 236
    assert stems[2] == "r-0.jpg~/1"


def test_folders_that_only_look_alike_get_different_names() -> None:
    names = [
        name for name, _ in names_of("s3://b/caf\u00e9/1.jpg", "s3://b/cafe\u0301/1.jpg", "s3://b/caf\u202e/1.jpg")
    ]
    assert len(set(names)) == 3
    assert names[0] == "caf\u00e9/1.jpg"
    assert "\u202e" not in names[2]


def test_one_image_too_many_is_refused_before_any_is_returned() -> None:
    with pytest.raises(RequestError) as refused:
        names_of("s3://b/1.jpg", "s3://b/2.jpg", "s3://b/3.jpg", max_files=2)
    assert (refused.value.status, refused.value.code) == (422, "too_many_images")


def test_a_long_list_waits_on_disk() -> None:
    count = 60_000
    with InputSpool(count, ResultNames(SINGLE)) as spool:
        tracemalloc.start()
        try:
            for number in range(count):
                spool.add(f"s3/b/{number // 100:04}/", f"{number:06}.jpg", f"s3://b/{number // 100:04}/{number:06}.jpg")
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
            files = spool.files()
            assert sum(1 for _ in islice(files, 1_000)) == 1_000
            early = tracemalloc.get_traced_memory()[1]
            assert sum(1 for _ in files) == count - 1_000
            assert tracemalloc.get_traced_memory()[1] < early + 1024 * 1024
        finally:
            tracemalloc.stop()


def test_sidecars_belong_to_the_image_of_their_name_whichever_comes_first() -> None:
    with InputSpool(10, ResultNames(SINGLE)) as spool:
        spool.add_sidecar("b/", "1.jpg", "s3://b/1.jpg.regions.json")
        for name in ("1.jpg", "2.jpg", "2.png", "3.jpg"):
            spool.add("b/", name, f"s3://b/{name}")
        spool.add("b/", "4.jpg", "s3://b/4.jpg", regions="[]")
        spool.add("c/", "1.jpg", "s3://c/1.jpg")
        spool.add_sidecar("b/", "1", "s3://b/1.regions.json")
        spool.add_sidecar("b/", "2", "s3://b/2.regions.json")
        spool.add_sidecar("b/", "4", "s3://b/4.regions.json")
        assert {file.name: file.regions for file in spool.files()} == {
            "b/1.jpg": "s3://b/1.jpg.regions.json",
            "b/2.jpg": "s3://b/2.regions.json",
            "b/2.png": "s3://b/2.regions.json",
            "b/3.jpg": None,
            "b/4.jpg": "[]",
            "c/1.jpg": None,
        }


def test_more_sidecars_than_images_are_accepted_are_refused() -> None:
    with InputSpool(2, ResultNames(SINGLE)) as spool:
        for number in range(2):
            spool.add_sidecar("b/", f"{number}", f"s3://b/{number}")
        with pytest.raises(RequestError) as refused:
            spool.add_sidecar("b/", "2", "s3://b/2")
    assert refused.value.code == "too_many_images"


def test_sidecars_are_found_whatever_case_or_composition_their_names_have() -> None:
    with InputSpool(99, ResultNames(SINGLE)) as spool:
        spool.add("b/", "1.JPG", "s3://b/1.JPG")
        spool.add("b/", "caf\u00e9.jpg", "s3://b/caf\u00e9.jpg")
        spool.add("b/", "x.jpg", "s3://b/x.jpg")
        spool.add("b/", "X.jpg", "s3://b/X.jpg")
        spool.add("b/", "o~1234.jpg", "s3://b/o\u202e.jpg", raw="o\u202e.jpg")
        for described in ("1.jpg", "cafe\u0301", "X.jpg", "o\u202e.jpg", "gone.jpg"):
            spool.add_sidecar("b/", described, described)
        assert [file.regions for file in spool.files()] == ["1.jpg", "cafe\u0301", None, "X.jpg", "o\u202e.jpg"]
        assert list(spool.orphans()) == ["gone.jpg.regions.json"]
