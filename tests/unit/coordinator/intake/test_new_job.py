"""NewJob: the images of a form, and the sidecars among its files."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import ImageState
from penstock.common.settings import Limits
from penstock.coordinator.intake.form_parts import SentFile
from penstock.coordinator.intake.job_requests import JobRequest, read_job_request
from penstock.coordinator.intake.new_job import check_files, images_of_files
from penstock.coordinator.ports.repository import Image


@pytest.fixture
def request_() -> JobRequest:
    return read_job_request({"operations": [["blur", "median"]]}, Limits())


def files_of(*names: str) -> list[SentFile]:
    return [SentFile(name, 9, None if name.endswith(".json") else "jpeg", None) for name in names]


def images_of(request: JobRequest, *names: str) -> list[Image]:
    return images_of_files(request, files_of(*names), "u")


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


def test_a_form_of_sidecars_alone_has_no_images() -> None:
    with pytest.raises(RequestError) as refused:
        check_files(files_of("a.jpg.regions.json"))
    assert refused.value.code == "no_images"
    check_files(files_of("a.jpg.regions.json", "a.jpg"))
