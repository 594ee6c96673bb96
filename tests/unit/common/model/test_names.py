"""Names and stems: unique for any names, where case and Unicode's composition make no difference."""

from __future__ import annotations

import random
import unicodedata

import pytest

from penstock.common.model.names import (
    MAX_STEM_BYTES,
    distinct,
    exact_stems,
    exactly_distinct,
    fold,
    unique_stems,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("IMG_1.JPG", "img_1.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("CAF\u00c9.jpg", "cafe\u0301.jpg"),
        ("stra\u00dfe", "STRASSE"),
        ("\u0390", "\u1fd3"),
        ("\u212b", "\u00e5"),
    ],
)
def test_names_that_differ_in_case_or_composition_alone_are_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)
    assert distinct([one, other])[0] == one
    assert fold(distinct([one, other])[1]) != fold(one)


def test_other_names_are_different() -> None:
    for one, other in [("a", "\u00e4"), ("a.jpg", "a.jpeg"), ("1", "\u00b9"), ("x/y", "xy"), ("\ufb01", "\ufb02")]:
        assert fold(one) != fold(other)


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["x.jpg", "x.png"], ["x.jpg", "x.png"]),
        (["x", "x.jpg"], ["x", "x.jpg"]),
        (["x.jpg", "x.png", "x.jpg.png"], ["x.jpg", "x.png", "x.jpg.png"]),
        (["x.jpg", "x.jpg.png"], ["x", "x.jpg"]),
        (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["a.b/x", "a.b/x.jpg"], ["a.b/x", "a.b/x.jpg"]),
        ([".jpg", "..jpg", "x."], [".jpg", ".", "x"]),
        (["IMG_1.JPG", "img_1.jpg"], ["IMG_1", "img_1~2"]),
        (["caf\u00e9.jpg", "cafe\u0301.jpg"], ["caf\u00e9", "cafe\u0301~2"]),
        (["x.jpg", "X.PNG"], ["x.jpg", "X.PNG"]),
        (["x.jpg", "X.jpg", "x~2.png"], ["x", "X~3", "x~2"]),
        (["North/x.jpg", "north/x.jpg"], ["North/x", "north/x~2"]),
        ([], []),
    ],
)
def test_a_stem_has_no_suffix_unless_it_is_needed(names: list[str], stems: list[str]) -> None:
    assert unique_stems(names) == stems


ALPHABETS = [
    ["x", ".", "~", "2"],
    ["a", ".jpg", ".png", "/", "~2"],
    ["x", "X", "-0", ".jpg", "~2", "\u00e9", "e\u0301"],
]


@pytest.mark.parametrize("may_add_parts", [False, True])
def test_stems_of_any_names_are_unique_and_fit_a_file_name(may_add_parts: bool) -> None:
    chance = random.Random(1)
    for _ in range(900):
        alphabet = chance.choice(ALPHABETS)
        names = ["".join(chance.choices(alphabet, k=chance.randint(1, 6))).strip("/") or "x" for _ in range(30)]
        stems = {fold(stem) for stem in unique_stems(names, may_add_parts=may_add_parts)}
        assert len(stems) == len(names), names


def test_a_stem_that_another_images_part_could_have_is_numbered_if_parts_may_be_added() -> None:
    names = ["x.jpg", "x-0.jpg", "X-1.png", "y-1.jpg"]
    assert unique_stems(names) == ["x", "x-0", "X-1", "y-1"]
    assert unique_stems(names, may_add_parts=True) == ["x", "x-0~2", "X-1~2", "y-1"]


def test_no_stem_with_a_part_is_another_stem_if_parts_may_be_added() -> None:
    chance = random.Random(2)
    for _ in range(600):
        names = ["".join(chance.choices(["x", "-0", "-1", ".a"], k=chance.randint(1, 4))) for _ in range(12)]
        stems = [fold(stem) for stem in unique_stems(names, may_add_parts=True)]
        assert not {f"{stem}-{part}" for stem in stems for part in (0, 1)} & set(stems), names


@pytest.mark.parametrize("max_bytes", [MAX_STEM_BYTES, 155])
def test_names_that_are_too_long_end_in_a_digest_and_stay_unique(max_bytes: int) -> None:
    long = [f"{'n' * 250}{end}" for end in (".jpg", ".png", "2.jpg")] + ["ü" * 127 + ".jpg", "a/" + "m" * 251 + ".jpg"]
    stems = unique_stems(long, max_bytes)
    assert len(set(stems)) == 5
    assert all(len(stem.rpartition("/")[2].encode()) <= max_bytes for stem in stems)
    assert stems[4].startswith("a/mmm")


def test_names_that_are_the_same_are_numbered_from_the_second_on() -> None:
    assert distinct(["x.jpg", "x.jpg", "x~2.jpg", "X.jpg", "y"]) == ["x.jpg", "x~3.jpg", "x~2.jpg", "X~4.jpg", "y"]
    assert distinct(["a/x", "a/x"]) == ["a/x", "a/x~2"]


def test_thousands_of_duplicate_names_take_linear_time() -> None:
    names = distinct(["x.jpg"] * 50_000)
    assert len(set(names)) == 50_000
    assert names[-1] == "x~50000.jpg"


def test_version_0_1_0_numbered_equal_names_and_case_mattered() -> None:
    assert exactly_distinct(["x.jpg", "x.jpg", "x~2.jpg", "x.jpg"]) == ["x.jpg", "x~3.jpg", "x~2.jpg", "x~4.jpg"]
    assert exactly_distinct(["x.jpg", "X.jpg"]) == ["x.jpg", "X.jpg"]
    assert exact_stems(["x.jpg", "X.jpg", "y.jpg", "y.jpg.png"]) == ["x", "X", "y", "y.jpg.png"]
    twins = ["caf\u00e9.jpg", unicodedata.normalize("NFD", "caf\u00e9.jpg")]
    assert exact_stems(twins) == [twin.removesuffix(".jpg") for twin in twins]
