"""`/static/`: listings for browsers and scripts, and the files themselves."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from api_server import ApiServer

JSON = {"Accept": "application/json"}


@pytest.fixture
def ended(coordinator: ApiServer, jpeg: bytes) -> dict[str, Any]:
    """A finished job of three images with two results each."""
    job: dict[str, Any] = coordinator.submit(["a.jpg", "b.jpg", "c.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"], parts=2)
    return job


def test_folders_link_to_every_file(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    listed = coordinator.http.get("/static/", headers=JSON).json()["jobs"]
    assert [job["id"] for job in listed] == [ended["id"]]
    folder = coordinator.http.get(listed[0]["url"], headers=JSON).json()
    names = [file["name"] for file in coordinator.http.get(folder["processed"], headers=JSON).json()["files"]]
    assert names == ["a-0.jpg", "a-1.jpg", "b-0.jpg", "b-1.jpg", "c-0.jpg", "c-1.jpg"]
    sent = coordinator.http.get(folder["sent"], headers=JSON).json()["files"]
    assert [file["name"] for file in sent] == ["a.jpg", "b.jpg", "c.jpg"]


def test_browsers_get_pages_with_links_and_no_scripts(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path in "/static/", f"/static/{ended['id']}/", f"/static/{ended['id']}/processed/":
        page = coordinator.http.get(path, headers=accept)
        assert page.headers["content-type"].startswith("text/html")
        assert "script" not in page.headers["content-security-policy"]
        assert ended["id"] in page.text
    assert f'href="/static/{ended["id"]}/processed/a-1.jpg"' in page.text


@pytest.mark.parametrize("folder", ["sent", "processed"])
def test_long_listings_have_pages_without_gaps(coordinator: ApiServer, ended: dict[str, Any], folder: str) -> None:
    url: str | None = f"/static/{ended['id']}/{folder}/?limit=2"
    seen: list[str] = []
    pages = 0
    while url:
        assert 'rel="next"' in coordinator.http.get(url).text or seen
        page = coordinator.http.get(url, headers=JSON).json()
        seen += [file["name"] for file in page["files"]]
        url, pages = page["next"], pages + 1
    assert (pages, len(seen), len(set(seen))) == ((2, 3, 3) if folder == "sent" else (3, 6, 6))


@pytest.mark.parametrize("path", ["/static", "/static/x", "/static/x/sent", "/static/x/processed"])
def test_a_folder_without_a_slash_is_redirected(coordinator: ApiServer, path: str) -> None:
    answer = coordinator.http.get(f"{path}?limit=3")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{path}/?limit=3")


def test_a_result_has_type_length_and_checksum(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    answer = coordinator.http.get(f"/static/{ended['id']}/processed/b-1.jpg")
    headers = answer.headers
    assert (answer.status_code, headers["content-type"]) == (200, "image/jpeg")
    assert headers["content-length"] == str(len(answer.content))
    assert headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith('inline; filename="b-1.jpg"')
    again = coordinator.http.get(answer.url, headers={"If-None-Match": headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    only_head = coordinator.http.head(answer.url)
    assert (only_head.headers["content-length"], only_head.content) == (headers["content-length"], b"")


@pytest.mark.parametrize(
    ("given", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=10-", 206, 10, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=5-99999", 206, 5, None),
        ("bytes=9-5", 200, 0, None),
        ("bytes=0-1,4-5", 200, 0, None),
        ("lines=1-2", 200, 0, None),
        ("bytes=-", 200, 0, None),
    ],
)
def test_a_range_of_a_file_is_sent(
    coordinator: ApiServer, ended: dict[str, Any], given: str, status: int, start: int, end: int | None
) -> None:
    url = f"/static/{ended['id']}/processed/a-0.jpg"
    whole = coordinator.http.get(url).content
    answer = coordinator.http.get(url, headers={"Range": given})
    assert (answer.status_code, answer.content) == (status, whole[start:end])
    if status == 206:
        first = start % len(whole)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(whole)}"


def test_a_range_that_does_not_exist_or_is_of_another_version_is_not_sent(
    coordinator: ApiServer, ended: dict[str, Any]
) -> None:
    url = f"/static/{ended['id']}/processed/a-0.jpg"
    beyond = coordinator.http.get(url, headers={"Range": "bytes=99999-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"].startswith("bytes */")
    other = coordinator.http.get(url, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert other.status_code == 200


def test_a_large_file_is_streamed_whole_and_in_ranges(coordinator: ApiServer, jpeg: bytes) -> None:
    data = jpeg + bytes(3_000_000)
    job = coordinator.submit(["large.jpg"], data)
    url = f"/static/{job['id']}/sent/large.jpg"
    assert coordinator.http.get(url).content == data
    answer = coordinator.http.get(url, headers={"Range": "bytes=100-2999999"})
    assert answer.content == data[100:3_000_000]
    assert answer.headers["content-length"] == "2999900"


def test_an_input_file_that_is_not_an_image_is_downloaded_and_never_shown(coordinator: ApiServer, png: bytes) -> None:
    files = [("files", ("good.png", png)), ("files", ('ev"il.html', b"<script>alert(1)</script>"))]
    job = coordinator.http.post("/v1/jobs", data={"job": '{"operations": [["split", true]]}'}, files=files).json()
    bad = coordinator.http.get(f"{job['url']}/images?state=failed").json()["images"][0]
    answer = coordinator.http.get(bad["sent"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert coordinator.http.get(f"/static/{job['id']}/sent/good.png").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "name", ["nothing.jpg", "a-2.jpg", "a.jpg", "%2e%2e%2fpenstock.db", "a-0.png", "%00", "a-0.jpg%0a", "a%0a.jpg"]
)
def test_an_unknown_result_is_not_found(coordinator: ApiServer, ended: dict[str, Any], name: str) -> None:
    for folder in "processed", "sent":
        if (folder, name) != ("sent", "a.jpg"):
            answer = coordinator.http.get(f"/static/{ended['id']}/{folder}/{name}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert "file" in answer.json()["detail"] or "result" in answer.json()["detail"]


def test_a_file_the_store_has_lost_is_not_found(coordinator: ApiServer, ended: dict[str, Any]) -> None:
    coordinator.store.delete_prefix(f"results/{ended['id']}")
    assert coordinator.http.get(f"/static/{ended['id']}/processed/a-0.jpg").json()["code"] == "not_found"
