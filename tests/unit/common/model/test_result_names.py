"""Result names: templates, the names they make, and the stems that names are read back to."""

from __future__ import annotations

import random

import pytest

from penstock.common.model.names import fold, unique_stems
from penstock.common.model.result_names import PARTS, SINGLE, ResultNames, check_file_name, check_template

TEMPLATES = [
    SINGLE,
    PARTS,
    "{folder}/{stem}_{part}.{ext}",
    "thumbs/{folder}/{stem}-{width}x{height}.{ext}",
    "{folder}/small/{part}-{stem}.{ext}",
    "{width}/{folder}/{part}_{stem} ({height}).{ext}",
]


@pytest.mark.parametrize(
    ("template", "stem", "name"),
    [
        (SINGLE, "north/x", "north/x.jpg"),
        (SINGLE, "x", "x.jpg"),
        (PARTS, "a/b/x", "a/b/x-1.jpg"),
        ("thumbs/{folder}/{stem}-{width}x{height}.{ext}", "x", "thumbs/x-64x48.jpg"),
        ("thumbs/{folder}/{stem}-{width}x{height}.{ext}", "a/x", "thumbs/a/x-64x48.jpg"),
        (PARTS, "{width}/{part}", "{width}/{part}-1.jpg"),
    ],
)
def test_fields_are_replaced_by_what_they_stand_for(template: str, stem: str, name: str) -> None:
    assert check_template(template) == template
    assert ResultNames(template).name(stem, 1, 1, "jpg", 64, 48) == name
    assert ResultNames(template).stems(name)[0] == stem


def test_several_results_without_a_field_for_them_are_numbered_behind_the_stem() -> None:
    names = ResultNames(SINGLE, may_add_parts=True)
    assert [names.name("n/x", part, 2, "png") for part in range(2)] == ["n/x-0.png", "n/x-1.png"]
    assert names.stems("n/x-1.png") == ["n/x-1", "n/x"]
    assert names.part_may_be_added
    assert not ResultNames(PARTS, may_add_parts=True).part_may_be_added


@pytest.mark.parametrize("template", TEMPLATES)
def test_results_of_different_images_and_parts_have_different_names(template: str) -> None:
    chance = random.Random(3)
    names = ResultNames(check_template(template), may_add_parts=True)
    for _ in range(200):
        files = ["".join(chance.choices(["x", "-0", "/", "_1", "12", ".a"], k=chance.randint(1, 5))) for _ in range(12)]
        files = ["/".join(filter(None, file.split("/"))) or "x" for file in files]
        stems = unique_stems(files, names.max_stem_bytes, may_add_parts=names.part_may_be_added)
        made = []
        for stem in stems:
            parts = chance.choice([1, 1, 2, 11])
            for part in range(parts):
                name = names.name(stem, part, parts, "jpg", chance.choice([1, 12, 640]), chance.choice([1, 12]))
                assert stem in names.stems(name)
                made.append(fold(name))
        assert len(set(made)) == len(made), stems


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{folder}/{stem}-{index}.{ext}", r"\{index\} is no field"),
        ("{folder}/{stem.__class__}.{ext}", "other characters"),
        ("{folder}/{stem}{.{ext}", "other characters"),
        ("{folder}/../{stem}.{ext}", "no part of a relative path"),
        ("/tmp/{folder}/{stem}.{ext}", "no part of a relative path"),
        ("{folder}//{stem}.{ext}", "no part of a relative path"),
        (".penstock/{folder}/{stem}.{ext}", "no part of a relative path"),
        ("a./{folder}/{stem}.{ext}", "no part of a relative path"),
        ("{folder}\\{stem}.{ext}", "other characters"),
        ("{folder}/{stem}\x00.{ext}", "other characters"),
        ("{folder}/{stem}:.{ext}", "other characters"),
        ("{stem}.{ext}", r"needs \{folder\}/ once"),
        ("x{folder}/{stem}.{ext}", r"needs \{folder\}/ once"),
        ("{folder}/{folder}/{stem}.{ext}", r"needs \{folder\}/ once"),
        ("{folder}/{part}.{ext}", r"needs \{stem\} once"),
        ("{folder}/{stem}/{part}.{ext}", r"needs \{stem\} once"),
        ("{folder}/{stem}", r"end in \.\{ext\}"),
        ("{folder}/{stem}.jpg", r"end in \.\{ext\}"),
        ("{folder}/{stem}{part}.{ext}", "a number needs"),
        ("{folder}/{width}{stem}.{ext}", "a number needs"),
        ("{folder}/{stem}-{width}{height}.{ext}", "a number needs"),
        ("{folder}/{stem}-0{part}.{ext}", "a number needs"),
        ("{folder}/{stem}" + "x" * 120 + ".{ext}", "too long"),
        ("", "no part of a relative path"),
    ],
)
def test_templates_that_could_lose_results_are_refused(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_template(template)


@pytest.mark.parametrize("template", [*TEMPLATES, "{folder}/{stem}" + "x" * 80 + ".{ext}"])
def test_names_of_the_longest_stems_are_file_names(template: str) -> None:
    names = ResultNames(template, may_add_parts=True)
    [stem] = unique_stems(["n" * 250 + ".jpg"], names.max_stem_bytes)
    name = names.name(stem, 4095, 4096, "tiff", 32768, 32768)
    assert len(name.rpartition("/")[2]) <= 255
    assert stem in names.stems(name)


@pytest.mark.parametrize(
    ("template", "stem", "name"),
    [
        (SINGLE, "north/poses", "north/poses/cameras.json"),
        (SINGLE, "poses", "poses/cameras.json"),
        (PARTS, "north/poses", "north/poses-0/cameras.json"),
        ("web/{folder}/v2-{stem}.{ext}", "north/poses", "web/north/v2-poses/cameras.json"),
    ],
)
def test_a_file_with_a_name_of_its_own_is_in_a_folder_from_which_its_group_can_be_read(
    template: str, stem: str, name: str
) -> None:
    names = ResultNames(template)
    assert names.own_name(stem, "cameras.json") == name
    assert stem in names.group_stems(name)


@pytest.mark.parametrize("name", ["a.json", "exif_overrides.json", "A b (2).txt", "0.tar.gz", "x" * 100 + ".jsonl"])
def test_names_of_files_are_accepted(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a", ".a.json", "a/b.json", "../b.json", "a.json ", "a.", "ü.json", "a\nb.json", "x" * 102 + ".json"]
)
def test_names_of_files_that_could_be_another_place_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="accepted are names of up to 100"):
        check_file_name(name)
