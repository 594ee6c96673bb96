"""NewJob: the images of a form, the sidecars among its files, and groups."""

from __future__ import annotations

import json

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import ImageState
from penstock.common.model.plan import GROUP_IDS
from penstock.common.settings import Limits
from penstock.coordinator.intake.form_parts import SentFile
from penstock.coordinator.intake.inputs.files import FoundFile
from penstock.coordinator.intake.job_requests import JobRequest, read_actions, read_job_request
from penstock.coordinator.intake.new_job import check_files, images_of_files, images_of_inputs
from penstock.coordinator.intake.skipped_files import SkippedFiles
from penstock.coordinator.ports.repository import Image


@pytest.fixture
def request_() -> JobRequest:
    return read_job_request({"operations": [["blur", "median"]]}, Limits())


def files_of(*names: str) -> list[SentFile]:
    return [SentFile(name, 9, None if name.endswith(".json") else "jpeg", None) for name in names]


def images_of(request: JobRequest, *names: str) -> list[Image]:
    return images_of_files(request, files_of(*names), "u", SkippedFiles())


def test_sidecars_of_a_form_are_no_images_and_belong_to_those_of_their_name(request_: JobRequest) -> None:
    found = images_of(request_, "b.regions.json", "a.jpg", "a.jpg.regions.json", "b.jpg", "c.jpg", "d.jpg.regions.json")
    assert [(image.id, image.name, image.ref, image.regions) for image in found] == [
        (0, "a.jpg", "uploads/u/1", "uploads/u/2"),
        (1, "b.jpg", "uploads/u/3", "uploads/u/0"),
        (2, "c.jpg", "uploads/u/4", None),
    ]
    assert {image.state for image in found} == {ImageState.PENDING}


def test_images_fail_if_nobody_knows_which_of_them_a_sidecar_is_for(request_: JobRequest) -> None:
    names = ("a.jpg", "a.jpg", "a.jpg.regions.json", "b.jpg", "b.regions.json", "b.regions.json", "c.jpg", "c.jpg")
    found = images_of(request_, *names)
    assert [(image.name, image.error["message"] if image.error else None) for image in found] == [
        ("a.jpg", "2 files are called 'a.jpg'; accepted is one, with its regions"),
        ("a~2.jpg", "2 files are called 'a.jpg'; accepted is one, with its regions"),
        ("b.jpg", "2 files are called 'b.regions.json'; accepted is one, with its regions"),
        ("c.jpg", None),
        ("c~2.jpg", None),
    ]
    assert {image.error["code"] for image in found if image.error} == {"invalid_regions"}


def test_a_form_of_sidecars_alone_has_no_images(request_: JobRequest) -> None:
    with pytest.raises(RequestError) as refused:
        check_files(request_, files_of("a.jpg.regions.json"))
    assert refused.value.code == "no_images"
    check_files(request_, files_of("a.jpg.regions.json", "a.jpg"))


@pytest.mark.parametrize("names", [{}, {"names": "{folder}/{stem}.{ext}"}])
def test_process_knows_no_sidecars_as_version_0_1_0_did_not(names: dict[str, str]) -> None:
    [request] = read_actions([json.dumps({"operations": [["blur", "median"]], **names})], Limits())
    check_files(request, files_of("a.jpg", "a.jpg.regions.json"))
    found = images_of(request, "a.jpg", "a.jpg.regions.json")
    assert [(image.name, image.state, image.regions) for image in found] == [
        ("a.jpg", ImageState.PENDING, None),
        ("a.jpg.regions.json", ImageState.FAILED, None),
    ]
    assert found[1].error is not None
    assert found[1].error["code"] == "unsupported_type"


def test_sidecars_of_a_form_are_found_whatever_the_case_of_their_names(request_: JobRequest) -> None:
    found = images_of(request_, "IMG_1.JPG", "img_1.jpg.regions.json", "b.jpg", "B.Regions.json")
    assert [(image.name, image.regions) for image in found] == [("IMG_1.JPG", "uploads/u/1"), ("b.jpg", "uploads/u/3")]


def test_a_sidecar_of_a_form_without_its_image_is_counted(request_: JobRequest) -> None:
    skipped = SkippedFiles()
    images_of_files(request_, files_of("a.jpg", "a.regions.json", "b.jpg.regions.json"), "u", skipped)
    assert skipped.document() == {
        "count": 1,
        "first": [{"name": "b.jpg.regions.json", "reason": "a sidecar without its image"}],
    }


def test_groups_follow_the_images_of_a_job_and_wait_for_those_that_have_not_failed() -> None:
    request = read_job_request({"operations": ["split", ["gather", "folder:contact-sheet"]]}, Limits())
    sizes = {"north/a.jpg": 9, "south/b.jpg": 0, "north/c.jpg": None, "d.jpg": 9}
    files = [FoundFile(name, name.removesuffix(".jpg"), f"s3://b/{name}", size) for name, size in sizes.items()]
    *images, north, south, rest = images_of_inputs(request, files, Limits())
    assert [image.group for image in images] == [GROUP_IDS, GROUP_IDS + 1, GROUP_IDS, GROUP_IDS + 2]
    assert [image.waits_for for image in images] == [None] * 4
    assert [image.is_group for image in (*images, north, south, rest)] == [False] * 4 + [True] * 3
    assert [(group.id, group.name, group.stem, group.waits_for) for group in (north, south, rest)] == [
        (GROUP_IDS, "north/contact-sheet", "north/contact-sheet", 2),
        (GROUP_IDS + 1, "south/contact-sheet", "south/contact-sheet", 0),
        (GROUP_IDS + 2, "contact-sheet", "contact-sheet", 1),
    ]
    assert {(group.state, group.resume_step, group.ref) for group in (north, south, rest)} == {
        (ImageState.PENDING, 2, "")
    }


def test_images_are_grouped_by_a_label_of_theirs() -> None:
    request = read_job_request({"operations": [["gather", "label:region:contact-sheet"]]}, Limits())
    labels = ({"region": "north"}, {"region": "../south"}, {"city": "north"}, None, {"region": "north"})
    files = [
        FoundFile(
            f"{number}.jpg", f"{number}", f"s3://b/{number}.jpg", 9, None, None if each is None else json.dumps(each)
        )
        for number, each in enumerate(labels)
    ]
    found = [*images_of_inputs(request, files, Limits())]
    assert [image.group for image in found[:5]] == [GROUP_IDS + number for number in (0, 1, 2, 2, 0)]
    assert [(group.name, group.waits_for) for group in found[5:]] == [
        ("north/contact-sheet", 2),
        ("_._south/contact-sheet", 1),
        ("contact-sheet", 2),
    ]
