"""`inputs: [{"job": id}]`: other operations on the images of an earlier job, without sending them again."""

from __future__ import annotations

import json

import pytest

from penstock.coordinator.auth.keys import Keys, make_key
from penstock.coordinator.ports.repository import ALL_OWNERS

DOCUMENT = {"operations": [["split", True]]}
REGIONS = b'[{"box": [1, 1, 5, 5], "label": "face"}]'


def send(coordinator, jpeg: bytes, **headers: str) -> str:
    files = [("files", (name, jpeg)) for name in ("a.jpg", "b.jpg")]
    files.append(("files", ("b.jpg.regions.json", REGIONS)))
    answer = coordinator.http.post("/v1/jobs", data={"job": json.dumps(DOCUMENT)}, files=files, headers=headers)
    assert answer.status_code == 202
    return answer.json()["id"]


def again(job: str, **more: object) -> dict[str, object]:
    return {"operations": [["blur", "median"]], "inputs": [{"job": job}], **more}


def test_a_second_job_has_the_same_images_with_their_regions(coordinator, jpeg) -> None:
    first = send(coordinator, jpeg)
    answer = coordinator.http.post("/v1/jobs", json=again(first))
    assert (answer.status_code, answer.json()["source"]) == (202, f"job {first}")
    repository = coordinator.services.repository
    images = [
        {(image.name, image.ref, image.size, image.regions) for image in repository.list_images(job, after=-1, limit=9)}
        for job in (first, answer.json()["id"])
    ]
    assert images[0] == images[1]
    assert {name for name, *_ in images[1]} == {"a.jpg", "b.jpg"}
    assert sum(regions is not None for *_, regions in images[1]) == 1
    uploads = {repository.get_job(job, ALL_OWNERS).upload for job in (first, answer.json()["id"])}
    assert len(uploads) == 1
    assert repository.uploads_in_use([*uploads]) == uploads


def test_a_dry_run_counts_the_images_of_an_earlier_job(coordinator, jpeg) -> None:
    first = send(coordinator, jpeg)
    estimate = coordinator.http.post("/v1/jobs?dry_run=true", json=again(first)).json()
    assert (estimate["images"], estimate["results"]) == (2, 2)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ([{"job": "01m8tz6v3yk4q2w5n7p9r1s3t5"}], "source_not_found"),
        ([{"job": "nonsense"}], "source_not_found"),
        ([{"job": "01m8tz6v3yk4q2w5n7p9r1s3t5"}, "a.jpg"], "job_not_alone"),
    ],
)
def test_what_is_no_earlier_job_is_refused(coordinator, inputs: list[object], code: str) -> None:
    refused = coordinator.http.post("/v1/jobs", json={**DOCUMENT, "inputs": inputs})
    assert (refused.status_code, refused.json()["code"], refused.json()["pointer"]) == (422, code, "/inputs/0")


def test_jobs_of_other_keys_are_no_inputs(serve, jpeg) -> None:
    tokens, keys = zip(*(make_key(name) for name in ("delft", "gouda")), strict=True)
    coordinator = serve(keys=Keys(keys))
    delft, gouda = ({"Authorization": f"Bearer {token}"} for token in tokens)
    first = send(coordinator, jpeg, **delft)
    assert coordinator.http.post("/v1/jobs", json=again(first), headers=gouda).json()["code"] == "source_not_found"
    assert coordinator.http.post("/v1/jobs", json=again(first), headers=delft).status_code == 202
