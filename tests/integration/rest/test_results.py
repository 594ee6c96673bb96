"""A job's images, its manifest and its ZIP file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from typing import Any

import pytest
from api_server import ApiServer

from penstock.common.model import messages
from penstock.common.model.messages import Event, Outcome
from penstock.common.model.regions import Place, Region
from penstock.common.model.rest import Image, ImagePage, Result, ResultPage


@pytest.fixture
def ended(coordinator: ApiServer, jpeg: bytes) -> dict[str, Any]:
    """A finished job of 12 images with 4 results each; two failed."""
    job: dict[str, Any] = coordinator.submit([f"{n:02}.jpg" for n in range(12)], jpeg)
    coordinator.scheduler.finish(job["id"], parts=4, fail={"03.jpg": "corrupt_image", "07.jpg": "step_timeout"})
    return job


def test_results_of_some_images_are_downloaded_and_exported(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg", "b.jpg", "c.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"], fail={"b.jpg": "corrupt_image"})
    query = {"image": [2, 1, 2, 99]}
    archive = coordinator.http.get(job["links"]["archive"], params=query)
    assert zipfile.ZipFile(io.BytesIO(archive.content)).namelist() == ["c-0.jpg"]
    lines = coordinator.http.get(f"{job['url']}/manifest", params={**query, "format": "ndjson"}).text.splitlines()
    assert [json.loads(line)["image"] for line in lines] == [2]
    for refused in ({"image": "x"}, {"image": -1}, {"image": [*range(1001)]}):
        assert coordinator.http.get(job["links"]["archive"], params=refused).status_code == 422


def test_images_have_results_timings_and_errors(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    images = coordinator.http.get(f"{ended['url']}/images").json()["images"]
    assert [image["id"] for image in images] == list(range(12))
    assert images[0]["steps"][1] == {"step": "blur", "wait_seconds": 0.5, "work_seconds": 0.25}
    assert [result["name"] for result in images[0]["results"]] == ["00-0.jpg", "00-1.jpg", "00-2.jpg", "00-3.jpg"]
    assert images[3]["error"] == {
        "code": "corrupt_image", "message": "it is corrupt_image", "step": "split", "retry": False,
    }  # fmt: skip


def test_pages_match_their_models(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    for name, model, entry in ("images", ImagePage, Image), ("results", ResultPage, Result):
        page = coordinator.http.get(f"{ended['url']}/{name}").json()
        assert model.model_validate(page).model_dump(mode="json") == page
        left_out = {name for name, field in entry.model_fields.items() if field.exclude_if}
        assert set(page[name][0]) == set(entry.model_fields) - left_out


def test_the_manifest_has_the_regions_and_warnings_of_results(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    [image] = coordinator.services.repository.take_pending(job["id"], 1)
    face = Region(box=(1, 2, 3.5, 4), label="face", score=0.75)
    area = Region(polygon=((0, 0), (2, 0), (2, 1)))
    plain = messages.Result(key="a", name="a", size=1, media_type="image/jpeg", width=8, height=8, sha256="0")
    results = [plain, plain.model_copy(update={"regions": (face, area), "warnings": ("depth_reduced",)})]
    outcome = Outcome(id=image.id, state="done", results=results)
    coordinator.services.repository.apply([Event(kind="finished", job=job["id"], chunk="c", outcomes=[outcome])])
    bare, full = coordinator.http.get(f"{job['url']}/results").json()["results"]
    assert "regions" not in bare
    assert "warnings" not in bare
    assert full["regions"] == [
        {"box": [1.0, 2.0, 3.5, 4.0], "label": "face", "score": 0.75},
        {"polygon": [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]},
    ]
    assert full["warnings"] == ["depth_reduced"]
    assert Result.model_validate(full).regions == (face, area)
    assert Result.model_validate(full).model_dump(mode="json") == full
    stream = coordinator.http.get(f"{job['url']}/results", headers={"Accept": "application/x-ndjson"}).text
    assert [json.loads(line) for line in stream.splitlines()] == [bare, full]


@pytest.fixture
def photographed(coordinator: ApiServer, jpeg: bytes) -> dict[str, Any]:
    """A job of two images in a folder; one result knows where it was taken, the other one does not."""
    job: dict[str, Any] = coordinator.submit(["a, b.jpg", "c.jpg"], jpeg)
    first, second = coordinator.services.repository.take_pending(job["id"], 2)
    plain = messages.Result(key="k", name="a, b.jpg", size=9, media_type="image/jpeg", width=8, height=6, sha256="0f")
    place = Place(longitude=4.3571, latitude=52.0116, altitude=-2.5, heading=143.2)
    placed = plain.model_copy(update={"place": place, "warnings": ("depth_reduced", "no_region_hidden")})
    named = plain.model_copy(update={"name": "c.jpg", "key": "s3://photos/c.jpg"})
    outcomes = [
        Outcome(id=image.id, state="done", results=[result]) for image, result in ((first, placed), (second, named))
    ]
    coordinator.services.repository.apply([Event(kind="finished", job=job["id"], chunk="c", outcomes=outcomes)])
    return job


def test_the_manifest_is_exported_as_csv(coordinator: ApiServer, photographed: dict[str, Any]) -> None:
    response = coordinator.http.get(f"{photographed['url']}/manifest?format=csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{photographed["id"]}.csv"'
    first, second = csv.DictReader(io.StringIO(response.text, newline=""))
    facts = {"size": "9", "media_type": "image/jpeg", "width": "8", "height": "6", "sha256": "0f"}
    assert first == facts | {
        "image": "0", "source": "a, b.jpg", "name": "a, b.jpg", "url": first["url"], "location": "",
        "longitude": "4.3571", "latitude": "52.0116", "altitude": "-2.5", "heading": "143.2",
        "warnings": "depth_reduced no_region_hidden",
    }  # fmt: skip
    assert second["location"] == "s3://photos/c.jpg"
    assert [second[name] for name in ("longitude", "latitude", "altitude", "heading", "warnings")] == [""] * 5


def test_a_name_that_a_spreadsheet_would_run_is_escaped_in_csv_alone(coordinator: ApiServer, jpeg: bytes) -> None:
    names = ["=1+1.jpg", "+1.jpg", "-1.jpg", "@sum.jpg", "a=1.jpg"]
    job = coordinator.submit(names, jpeg)
    coordinator.scheduler.finish(job["id"])
    rows = [*csv.DictReader(io.StringIO(coordinator.http.get(f"{job['url']}/manifest?format=csv").text, newline=""))]
    assert [row["source"] for row in rows] == [*(f"'{name}" for name in names[:4]), names[4]]
    assert [row["name"][:2] for row in rows[:4]] == ["'=", "'+", "'-", "'@"]
    lines = coordinator.http.get(f"{job['url']}/manifest").text.splitlines()
    assert [json.loads(line)["name"][0] for line in lines] == ["=", "+", "-", "@", "a"]


def test_the_manifest_is_exported_as_geojson(coordinator: ApiServer, photographed: dict[str, Any]) -> None:
    response = coordinator.http.get(f"{photographed['url']}/manifest?format=geojson")
    assert response.headers["content-type"] == "application/geo+json"
    collection = response.json()
    first, second = collection["features"]
    assert collection["type"] == "FeatureCollection"
    assert first["geometry"] == {"type": "Point", "coordinates": [4.3571, 52.0116, -2.5]}
    listed = coordinator.http.get(f"{photographed['url']}/results").json()["results"]
    assert listed[0].pop("place") == {"longitude": 4.3571, "latitude": 52.0116, "altitude": -2.5, "heading": 143.2}
    assert first["properties"] == listed[0] | {"source": "a, b.jpg", "heading": 143.2}
    assert second == {"type": "Feature", "geometry": None, "properties": listed[1] | {"source": "c.jpg"}}


@pytest.mark.parametrize(
    ("accept", "type_"),
    [
        ("application/geo+json", "application/geo+json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("*/*", "application/x-ndjson"),
    ],
)
def test_an_export_has_the_form_that_is_accepted(
    coordinator: ApiServer, ended: dict[str, Any], accept: str, type_: str
) -> None:
    response = coordinator.http.get(f"{ended['url']}/manifest", headers={"Accept": accept})
    assert response.headers["content-type"] == type_


def test_exports_of_a_job_without_results_are_empty(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    assert coordinator.http.get(f"{job['url']}/manifest?format=geojson").json()["features"] == []
    assert len(coordinator.http.get(f"{job['url']}/manifest?format=csv").text.splitlines()) == 1
    assert coordinator.http.get(f"{job['url']}/manifest").text == ""


def test_an_unknown_form_of_the_manifest_is_refused(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    problem = coordinator.http.get(f"{ended['url']}/manifest?format=xml")
    assert (problem.status_code, problem.json()["code"]) == (422, "invalid_parameter")


def test_images_are_paged_and_filtered(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    first = coordinator.http.get(f"{ended['url']}/images?limit=1&state=failed").json()
    second = coordinator.http.get(first["next"]).json()
    assert [image["name"] for image in first["images"] + second["images"]] == ["03.jpg", "07.jpg"]
    assert second["next"] is None


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_the_manifest_is_complete_for_any_page_size(coordinator: ApiServer, ended: dict[str, Any], limit: int) -> None:
    url: str | None = f"{ended['url']}/results?limit={limit}"
    seen: list[dict[str, Any]] = []
    while url:
        page = coordinator.http.get(url).json()
        assert len(page["results"]) <= limit
        seen += page["results"]
        url = page["next"]
    assert [entry["name"] for entry in seen] == [
        f"{n:02}-{part}.jpg" for n in range(12) if n not in (3, 7) for part in range(4)
    ]
    data = coordinator.http.get(seen[-1]["url"]).content
    assert seen[-1]["sha256"] == hashlib.sha256(data).hexdigest()
    assert (seen[-1]["size"], seen[-1]["width"], seen[-1]["media_type"]) == (len(data), 2, "image/jpeg")


def test_the_manifest_is_streamed_as_lines(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    answer = coordinator.http.get(f"{ended['url']}/results", headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    paged = coordinator.http.get(f"{ended['url']}/results?limit=1000").json()["results"]
    assert lines == paged
    assert len(lines) == 40


@pytest.mark.parametrize("cursor", ["MQ", "MS4y.", "LTEuMA", "MTExMTExMTExMTExMTExMTExMTEuMA", "!!", "w6ku"])
def test_a_cursor_of_another_list_is_refused(coordinator: ApiServer, ended: dict[str, Any], cursor: str) -> None:
    answer = coordinator.http.get(f"{ended['url']}/results", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_the_archive_has_every_result_unchanged(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    answer = coordinator.http.get(ended["links"]["archive"])
    assert answer.headers["content-type"] == "application/zip"
    assert ended["id"] in answer.headers["content-disposition"]
    results = coordinator.http.get(f"{ended['url']}/results?limit=1000").json()["results"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [entry["name"] for entry in results]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        digests = [hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()]
    assert digests == [entry["sha256"] for entry in results]


def test_a_job_without_results_has_an_empty_manifest_and_archive(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)
    assert coordinator.http.get(f"{job['url']}/results").json() == {"results": [], "cursor": None, "next": None}
    with zipfile.ZipFile(io.BytesIO(coordinator.http.get(job["links"]["archive"]).content)) as archive:
        assert archive.namelist() == []


def test_an_archive_that_cannot_be_complete_is_refused_before_its_first_byte(
    coordinator: ApiServer, ended: dict[str, Any]
) -> None:
    coordinator.store.delete(f"results/{ended['id']}/11-3.jpg")
    answer = coordinator.http.get(ended["links"]["archive"])
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
