"""Listings of groups."""

import pytest

from penstock.common.model.groups import Groups, Member, group_source, listing_key, read_members, write_member
from penstock.common.model.messages import Result
from penstock.common.model.regions import Place

RESULT = Result(
    key="results/4/north/a.jpg",
    name="north/a.jpg",
    size=12,
    media_type="image/jpeg",
    width=4,
    height=3,
    sha256="00",
    place=Place(longitude=4.4, latitude=52.0),
)
MEMBERS = [
    Member(name="north/a.jpg", results=[RESULT, RESULT], labels={"region": "Zürich"}),
    Member(name="north/b.jpg", results=[RESULT]),
]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_listing_is_read_as_it_was_written_wherever_its_pieces_end(size: int) -> None:
    listing = b"".join(map(write_member, MEMBERS))
    pieces = [listing[start : start + size] for start in range(0, len(listing), size)]
    assert [*read_members(pieces)] == MEMBERS


def test_a_line_leaves_out_labels_that_an_image_does_not_have() -> None:
    assert b"labels" in write_member(MEMBERS[0])
    assert b"labels" not in write_member(MEMBERS[1])


@pytest.mark.parametrize("listing", [write_member(MEMBERS[0])[:-1], b"{}\n", b"no JSON\n"])
def test_a_damaged_listing_is_refused(listing: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|validation error"):
        [*read_members([listing])]


def test_the_source_of_a_group_names_its_listing_and_that_of_an_image_names_none() -> None:
    assert listing_key(group_source("groups/4/0-1.jsonl")) == "groups/4/0-1.jsonl"
    assert listing_key("uploads/4/0") is None
    assert listing_key("file:///group:a.jpg") is None


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (["a.jpg", "contact.jpg"], "contact-sheet"),
        (["a.jpg", "contact-sheet.jpg"], "contact-sheet~2"),
        (["a.jpg", "Contact-Sheet-7.png"], "contact-sheet~2"),
        (["contact-sheet/a.jpg"], "contact-sheet~2"),
        (["contact-sheet.jpg", "contact-sheet~2.png"], "contact-sheet~3"),
        (["contact-sheets.jpg"], "contact-sheet"),
    ],
)
def test_a_group_has_a_name_that_no_result_of_an_image_can_have(names: list[str], group: str) -> None:
    groups = Groups("job", "contact-sheet")
    assert {groups.add(name, name[:-4]) for name in names} == {0}
    assert [*groups.names()] == [group]


def test_groups_of_folders_that_differ_in_case_have_different_names() -> None:
    groups = Groups("folder", "sheet")
    names = ["x/a.jpg", "X/b.jpg", "c.jpg", "x/d.jpg"]
    assert [groups.add(name, name[:-4]) for name in names] == [0, 1, 2, 0]
    assert [*groups.names()] == ["x/sheet", "X/sheet~2", "sheet"]


@pytest.mark.parametrize(
    ("label", "folder"),
    [("a/b", "a_b/"), (".hidden", "_hidden/"), ("..", "_./"), ("x.jpg", "x.jpg~/"), ("", ""), ("Süd", "Süd/")],
)
def test_a_label_is_the_name_of_a_folder(label: str, folder: str) -> None:
    groups = Groups("label:region", "sheet")
    groups.add("a.jpg", "a", {"region": label})
    assert [*groups.names()] == [f"{folder}sheet"]


def test_labels_of_which_folders_have_the_same_name_are_different_groups() -> None:
    groups = Groups("label:region", "sheet")
    assert [groups.add(f"{label}.jpg", "a", {"region": label}) for label in ("a/b", "a_b")] == [0, 1]
    assert [*groups.names()] == ["a_b/sheet", "a_b/sheet~2"]
