"""Inputs and results in buckets of a real S3 server: what is accepted, refused, and never read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
from api_server import ApiServer, Serve
from s3_server import S3Server

from penstock.common.input_root import InputRoot
from penstock.common.settings import Limits, StoreSettings
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.factory import open_bucket
from penstock.coordinator.ports.ids import new_id

OPERATIONS = [["blur", "median"]]


class Bucket:
    """A bucket that a test fills."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = open_bucket(url, StoreSettings())

    def put(self, data: bytes, *keys: str) -> None:
        for key in keys:
            obstore.put(self._store, key, data)

    def delete(self, key: str) -> None:
        obstore.delete(self._store, key)


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3.create_bucket())


@pytest.fixture
def coordinator(serve: Serve, bucket: Bucket, tmp_path: Path) -> ApiServer:
    """A REST API that may use the bucket's folders `in` and `out`, and files below `root`."""
    (tmp_path / "root").mkdir()
    settings = StoreSettings(sources=(f"{bucket.url}/in/", f"{bucket.url}/out/"))
    return serve(buckets=BucketAllowlist.from_settings(settings), input_root=InputRoot(tmp_path / "root"))


def post(coordinator: ApiServer, *inputs: Any, query: str = "", **document: Any) -> httpx.Response:
    """Submit a job with inputs."""
    body = {"operations": OPERATIONS, "inputs": list(inputs), **document}
    answer: httpx.Response = coordinator.http.post(f"/v1/jobs{query}", json=body)
    return answer


def images_of(coordinator: ApiServer, answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the images of a submitted job."""
    assert answer.status_code == 202, answer.text
    images: list[dict[str, Any]] = coordinator.http.get(f"{answer.json()['url']}/images").json()["images"]
    return images


def names_of(coordinator: ApiServer, answer: httpx.Response) -> list[str]:
    return [image["name"] for image in images_of(coordinator, answer)]


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Return a problem document's status, code and pointer."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    return answer.status_code, problem["code"], problem.get("pointer")


def test_single_objects_are_checked_and_keep_their_order(coordinator: ApiServer, bucket: Bucket, jpeg: bytes) -> None:
    bucket.put(jpeg, *(f"in/{number}.jpg" for number in range(40)))
    urls = [f"{bucket.url}/in/{number}.jpg" for number in range(39, -1, -1)]
    images = images_of(coordinator, post(coordinator, *urls))
    assert [image["name"] for image in images] == [f"{number}.jpg" for number in range(39, -1, -1)]
    assert {image["size"] for image in images} == {len(jpeg)}
    refused = post(coordinator, *urls, f"{bucket.url}/in/none.jpg")
    assert refusal(refused) == (422, "source_not_found", "/inputs/40")


def test_a_folder_is_listed_without_hidden_objects_and_folder_markers(
    coordinator: ApiServer, bucket: Bucket, jpeg: bytes
) -> None:
    bucket.put(jpeg, "in/delft/1.jpg", "in/delft/a/2.jpg", "in/delft/.x.jpg", "in/delft/.y/3.jpg", "in/delft2/4.jpg")
    bucket.put(b"", "in/delft/a/_SUCCESS", "in/delft/empty.jpg")
    images = images_of(coordinator, post(coordinator, {"prefix": f"{bucket.url}/in/delft"}))
    assert sorted(image["name"] for image in images) == ["1.jpg", "a/2.jpg", "empty.jpg"]
    assert [image["error"]["code"] for image in images if image["error"]] == ["empty_file"]
    again = post(coordinator, {"prefix": f"{bucket.url}/in/delft/"}, f"{bucket.url}/in/delft/1.jpg")
    assert sorted(names_of(coordinator, again)) == ["1.jpg", "a/2.jpg", "empty.jpg"]
    skipped = coordinator.http.get(again.json()["url"]).json()["skipped"]
    assert skipped == {"count": 1, "first": [{"name": "a/_SUCCESS", "reason": "empty"}]}
    nothing = post(coordinator, {"prefix": f"{bucket.url}/in/del/"})
    assert refusal(nothing) == (422, "source_not_found", "/inputs/0")


def test_a_folder_of_a_bucket_is_taken_like_one_of_this_host(
    coordinator: ApiServer, bucket: Bucket, jpeg: bytes
) -> None:
    bucket.put(jpeg, "in/mix/1.jpg", "in/mix/without-suffix", f"in/mix/out/{new_id()}/1.jpg", "in/mix/out/2.jpg")
    bucket.put(b"GIF89a" + bytes(700), "in/mix/anim.gif")
    bucket.put(b"no image", "in/mix/notes.txt", "in/mix/lost.regions.json")
    document = {"operations": OPERATIONS, "inputs": [{"prefix": f"{bucket.url}/in/mix/"}]}
    answer = coordinator.http.post("/v1/jobs", json={**document, "results": f"{bucket.url}/in/mix/out/"})
    assert sorted(names_of(coordinator, answer)) == ["1.jpg", "out/2.jpg", "without-suffix"]
    skipped = coordinator.http.get(answer.json()["url"]).json()["skipped"]
    assert skipped["count"] == 4
    reasons = {file["name"].rpartition("/")[2]: file["reason"] for file in skipped["first"]}
    assert reasons == {
        "1.jpg": "a result of another job",
        "anim.gif": "GIF",
        "notes.txt": "text",
        "lost.regions.json": "a sidecar without its image",
    }


def test_hidden_objects_that_are_named_are_skipped_and_counted(
    coordinator: ApiServer, bucket: Bucket, jpeg: bytes
) -> None:
    bucket.put(jpeg, "in/1.jpg", "in/.h/2.jpg", "in/.3.jpg")
    bucket.put(f"{bucket.url}/in/.3.jpg\n".encode(), "in/list.txt")
    answer = post(
        coordinator,
        *(f"{bucket.url}/in/{name}" for name in ("1.jpg", ".h/2.jpg")),
        {"manifest": f"{bucket.url}/in/list.txt"},
    )
    assert names_of(coordinator, answer) == ["1.jpg"]
    skipped = coordinator.http.get(answer.json()["url"]).json()["skipped"]
    assert [(file["name"], file["reason"]) for file in skipped["first"]] == [
        (f"{bucket.url}/in/.h/2.jpg", "hidden"),
        (f"{bucket.url}/in/.3.jpg", "hidden"),
    ]


def test_the_objects_of_an_input_list_are_not_checked(coordinator: ApiServer, bucket: Bucket) -> None:
    lines = ["# delft", f"{bucket.url}/in/a/1.jpg", "", f"{bucket.url}/in/b/1.jpg", f"{bucket.url}/in/a/1.jpg"]
    bucket.put("\n".join(lines).encode(), "in/list.txt")
    answer = post(coordinator, {"manifest": f"{bucket.url}/in/list.txt"})
    images = images_of(coordinator, answer)
    assert [(image["name"], image["size"]) for image in images] == [("a/1.jpg", None), ("b/1.jpg", None)]


def test_an_input_list_on_this_host_may_name_files_and_objects(
    coordinator: ApiServer, bucket: Bucket, jpeg: bytes
) -> None:
    root = coordinator.services.input_root.path
    (root / "list.txt").write_text(f"./a/1.jpg\n{root}/a/2.jpg\n{bucket.url}/in/1.jpg\n")
    (root / "top.jpg").write_bytes(jpeg)
    alone = (root / "alone.txt", "a/1.jpg\na/b/2.jpg\n")
    alone[0].write_text(alone[1])
    place = f"s3/{bucket.url.removeprefix('s3://')}"
    mixed = names_of(coordinator, post(coordinator, {"manifest": "list.txt"}, "top.jpg"))
    assert mixed == ["files/top.jpg", "files/a/1.jpg", "files/a/2.jpg", f"{place}/in/1.jpg"]
    assert names_of(coordinator, post(coordinator, {"manifest": "alone.txt"})) == ["1.jpg", "b/2.jpg"]


def test_one_forbidden_line_of_an_input_list_refuses_the_job(coordinator: ApiServer, bucket: Bucket) -> None:
    root = coordinator.services.input_root.path
    for bad in (
        f"{bucket.url}/secret/1.jpg",
        "http://169.254.169.254/",
        "../x.jpg",
        f"{bucket.url}/in/../secret/1.jpg",
    ):
        (root / "list.txt").write_text(f"{bucket.url}/in/1.jpg\n\n{bad}\n")
        answer = post(coordinator, {"manifest": "list.txt"})
        assert refusal(answer) == (403, "source_forbidden", "/inputs/0"), bad
        assert "line 3 of 'list.txt'" in answer.json()["detail"]
    assert coordinator.services.repository.count_open_jobs() == 0


@pytest.mark.parametrize("wrap", [lambda url: url, lambda url: {"prefix": url}, lambda url: {"manifest": url}])
@pytest.mark.parametrize("path", ["secret/1.jpg", "in/../secret/1.jpg", "in/%2e%2e/secret/1.jpg", "in//x"])
def test_an_input_outside_of_the_allow_list_is_refused(
    coordinator: ApiServer, bucket: Bucket, jpeg: bytes, wrap: Callable[[str], Any], path: str
) -> None:
    bucket.put(jpeg, "secret/1.jpg", "in/1.jpg")
    answer = post(coordinator, f"{bucket.url}/in/1.jpg", wrap(f"{bucket.url}/{path}"))
    assert refusal(answer) == (403, "source_forbidden", "/inputs/1")
    assert f"accepted are URLs below {bucket.url}/in/" in answer.json()["detail"]


def test_no_object_is_read_before_all_inputs_are_allowed(coordinator: ApiServer, bucket: Bucket) -> None:
    answer = post(coordinator, f"{bucket.url}/in/none.jpg", {"prefix": f"{bucket.url}/in/none"}, "s3://other/1.jpg")
    assert refusal(answer) == (403, "source_forbidden", "/inputs/2")


def test_a_server_without_buckets_says_how_to_allow_some(serve: Serve) -> None:
    answer = post(serve(), "s3://photos/1.jpg")
    assert refusal(answer) == (403, "source_forbidden", "/inputs/0")
    assert "PENSTOCK_SOURCES" in answer.json()["detail"]


def test_a_dry_run_counts_an_input_list_and_stores_nothing(coordinator: ApiServer, bucket: Bucket) -> None:
    bucket.put("".join(f"{bucket.url}/in/{n}.jpg\n" for n in range(250)).encode(), "in/list.txt")
    answer = post(coordinator, {"manifest": f"{bucket.url}/in/list.txt"}, query="?dry_run=true")
    assert (answer.status_code, answer.json()["images"], answer.json()["results"]) == (200, 250, 250)
    assert coordinator.services.repository.count_open_jobs() == 0


def test_a_missing_empty_or_too_long_input_list_is_refused(
    serve: Serve, coordinator: ApiServer, bucket: Bucket
) -> None:
    gone = post(coordinator, {"manifest": f"{bucket.url}/in/none.txt"})
    assert refusal(gone) == (422, "source_not_found", "/inputs/0")
    bucket.put(b"# nothing\n\n", "in/list.txt")
    assert refusal(post(coordinator, {"manifest": f"{bucket.url}/in/list.txt"}))[:2] == (422, "no_images")
    bucket.put(b"".join(b"%s/in/%d.jpg\n" % (bucket.url.encode(), n) for n in range(11)), "in/list.txt")
    small = serve(buckets=coordinator.services.buckets, limits=Limits(max_images=10))
    refused = post(small, {"manifest": f"{bucket.url}/in/list.txt"})
    assert refusal(refused) == (422, "too_many_images", "/inputs")
    assert small.http.get("/v1/jobs").json()["jobs"] == []


def test_images_whose_results_would_collide_are_numbered(coordinator: ApiServer, bucket: Bucket) -> None:
    keys = ["x.jpg/1.jpg", "x.jpg~/1.jpg", "X.JPG/1.jpg", "x.png"]
    bucket.put("\n".join(f"{bucket.url}/in/{key}" for key in keys).encode(), "in/list.txt")
    job = post(coordinator, {"manifest": f"{bucket.url}/in/list.txt"}).json()
    coordinator.scheduler.finish(job["id"])
    results = coordinator.http.get(f"{job['url']}/results").json()["results"]
    assert [entry["name"] for entry in results] == ["x.jpg~/1.jpg", "x.jpg~/1~2.jpg", "X~2.JPG~/1.jpg", "x.jpg"]
    assert all(coordinator.http.get(entry["url"]).status_code == 200 for entry in results)


def test_an_input_file_is_sent_from_its_bucket_while_that_is_allowed(
    serve: Serve, coordinator: ApiServer, bucket: Bucket, jpeg: bytes
) -> None:
    large = jpeg + bytes(3_000_000)
    bucket.put(large, "in/a b.jpg")
    bucket.put(b"<script>", "in/x.jpg")
    bucket.put(f"{bucket.url}/in/a b.jpg\n{bucket.url}/in/x.jpg\n{bucket.url}/in/none.jpg".encode(), "in/list.txt")
    job = post(coordinator, {"manifest": f"{bucket.url}/in/list.txt"}).json()
    url = f"/static/{job['id']}/sent/a%20b.jpg"
    sent = coordinator.http.get(url)
    assert (sent.content, sent.headers["content-type"]) == (large, "image/jpeg")
    assert coordinator.http.get(url, headers={"Range": "bytes=2-4"}).content == large[2:5]
    assert coordinator.http.get(url, headers={"If-None-Match": sent.headers["etag"]}).status_code == 304
    script = coordinator.http.get(f"/static/{job['id']}/sent/x.jpg")
    assert script.headers["content-type"] == "application/octet-stream"
    assert coordinator.http.get(f"/static/{job['id']}/sent/none.jpg").status_code == 404
    closed = serve(buckets=BucketAllowlist())
    assert closed.http.get(url).status_code == 404


def test_results_go_only_to_buckets_that_are_allowed(coordinator: ApiServer, bucket: Bucket, jpeg: bytes) -> None:
    bucket.put(jpeg, "in/1.jpg")
    source = f"{bucket.url}/in/1.jpg"
    assert post(coordinator, source, results=f"{bucket.url}/out/").status_code == 202
    for bad in (
        f"{bucket.url}/",
        f"{bucket.url}/secret/",
        f"{bucket.url}/out/../secret",
        "file:///tmp/",
        "out",
        "s3://x",
    ):
        assert refusal(post(coordinator, source, results=bad)) == (403, "source_forbidden", "/results"), bad
    form = {"actions": '[{"operations": []}, {"operations": [], "results": "s3://other/"}]'}
    answer = coordinator.http.post("/process", data=form, files={"files": ("a.jpg", jpeg)})
    assert refusal(answer) == (403, "source_forbidden", "/actions/1/results")
    form = {"job": '{"operations": [], "results": "s3://other/"}'}
    answer = coordinator.http.post("/v1/jobs", data=form, files={"files": ("a.jpg", jpeg)})
    assert refusal(answer) == (403, "source_forbidden", "/results")
    assert coordinator.stored() == []


def test_an_unreachable_bucket_is_a_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    sources = BucketAllowlist.from_settings(StoreSettings(sources=("s3://photos/",), store_timeout_secs=0.5))
    answer = post(serve(buckets=sources), "s3://photos/1.jpg")
    assert refusal(answer) == (503, "unavailable", None)
    assert "127.0.0.1" not in answer.text


def test_a_sidecar_in_a_bucket_belongs_to_the_image_beside_it(
    coordinator: ApiServer, bucket: Bucket, jpeg: bytes
) -> None:
    bucket.put(jpeg, "in/a/1.jpg", "in/a/2.jpg", "in/b/1.jpg", "in/c/3.jpg")
    bucket.put(b"[]", "in/a/1.jpg.regions.json", "in/a/2.regions.json", "in/d/4.regions.json")
    lines = [f'{{"uri": "{bucket.url}/in/c/3.jpg", "regions": []}}', f"{bucket.url}/in/c/3.regions.json"]
    bucket.put("\n".join(lines).encode(), "in/list.txt")
    folders = [{"prefix": f"{bucket.url}/in/{name}"} for name in ("a", "b")]
    answer = post(coordinator, *folders, {"manifest": f"{bucket.url}/in/list.txt"})
    assert answer.status_code == 202, answer.text
    rows = coordinator.services.repository.list_images(answer.json()["id"], limit=10)
    assert {row.name: row.regions for row in rows} == {
        "a/1.jpg": f"{bucket.url}/in/a/1.jpg.regions.json",
        "a/2.jpg": f"{bucket.url}/in/a/2.regions.json",
        "b/1.jpg": None,
        "c/3.jpg": "[]",
    }
    nothing = post(coordinator, {"prefix": f"{bucket.url}/in/d"})
    assert refusal(nothing) == (422, "source_not_found", "/inputs/0")


def test_a_bad_line_with_regions_refuses_the_job(coordinator: ApiServer, bucket: Bucket) -> None:
    bucket.put(b'x\n{"uri": "y.jpg", "regions": [{"box": [1, 2, 3]}]}\n', "in/list.txt")
    answer = post(coordinator, {"manifest": f"{bucket.url}/in/list.txt"})
    assert refusal(answer) == (422, "invalid_manifest", "/inputs/0")
    assert answer.json()["detail"].endswith("list.txt': regions[0].box[3]: missing, but required")
    assert "line 2 of" in answer.json()["detail"]


def test_folders_of_a_bucket_are_browsed_one_level_at_a_time(coordinator: ApiServer, bucket: Bucket) -> None:
    bucket.put(
        b"x", "in/a.jpg", "in/b/1.jpg", "in/b/2/3.jpg", "in/b0.jpg", "in/c/x.png", "in/.hidden/x.jpg", "other/x.jpg"
    )

    def browse(url: str, limit: int = 9) -> list[str]:
        found, following = [], f"/v1/inputs?path={url}&limit={limit}"
        while following:
            answer = coordinator.http.get(following)
            assert answer.status_code == 200, answer.text
            found += [entry["path"].removeprefix(f"{bucket.url}/") for entry in answer.json()["entries"]]
            following = answer.json()["next"]
        return found

    places = [entry["path"] for entry in coordinator.http.get("/v1/inputs").json()["entries"]]
    assert places == ["./", f"{bucket.url}/in/", f"{bucket.url}/out/"]
    for limit in (9, 2, 1):
        assert browse(f"{bucket.url}/in/", limit) == ["in/a.jpg", "in/b/", "in/b0.jpg", "in/c/"]
    assert browse(f"{bucket.url}/in/b") == ["in/b/1.jpg", "in/b/2/"]
    assert browse(f"{bucket.url}/out/") == []
    refused = coordinator.http.get(f"/v1/inputs?path={bucket.url}/other/")
    assert (refused.status_code, refused.json()["code"]) == (403, "source_forbidden")
