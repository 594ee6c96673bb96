"""Stems of results: unique for any names."""

from __future__ import annotations

import random

import pytest

from penstock.common.model.names import MAX_STEM_BYTES, distinct, unique_stems


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["x.jpg", "x.png"], ["x.jpg", "x.png"]),
        (["x", "x.jpg"], ["x", "x.jpg"]),
        (["x.jpg", "x.png", "x.jpg.png"], ["x.jpg", "x.png", "x.jpg.png"]),
        (["x.jpg", "x.jpg.png"], ["x", "x.jpg.png"]),
        (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["a.b/x", "a.b/x.jpg"], ["a.b/x", "a.b/x.jpg"]),
        ([".jpg", "..jpg", "x."], [".jpg", ".", "x"]),
        ([], []),
    ],
)
def test_a_stem_has_no_suffix_unless_it_is_needed(names: list[str], stems: list[str]) -> None:
    assert unique_stems(names) == stems


def test_stems_of_any_names_are_unique_and_fit_a_file_name() -> None:
    chance = random.Random(1)
    for _ in range(300):
        alphabet = chance.choice([["x", ".", "~", "2"], ["a", ".jpg", ".png", "/", "~2"]])
        names = ["".join(chance.choices(alphabet, k=chance.randint(1, 6))).strip("/") or "x" for _ in range(30)]
        stems = unique_stems(names)
        assert len(set(stems)) == len(names), names


def test_names_that_are_too_long_end_in_a_digest_and_stay_unique() -> None:
    long = [f"{'n' * 250}{end}" for end in (".jpg", ".png", "2.jpg")] + ["ü" * 127 + ".jpg", "a/" + "m" * 251 + ".jpg"]
    stems = unique_stems(long)
    assert len(set(stems)) == 5
    assert all(len(stem.rpartition("/")[2].encode()) <= MAX_STEM_BYTES for stem in stems)
    assert stems[4].startswith("a/mmm")


def test_duplicate_names_are_numbered_from_the_second_on() -> None:
    assert distinct(["x.jpg", "x.jpg", "x~2.jpg", "x.jpg", "y"]) == ["x.jpg", "x~3.jpg", "x~2.jpg", "x~4.jpg", "y"]
    assert distinct(["a/x", "a/x"]) == ["a/x", "a/x~2"]


def test_thousands_of_duplicate_names_take_linear_time() -> None:
    names = distinct(["x.jpg"] * 50_000)
    assert len(set(names)) == 50_000
    assert names[-1] == "x~50000.jpg"
