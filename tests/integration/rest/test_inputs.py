"""Inputs by reference: files and folders below the configured root."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Serve

from penstock.common.input_root import InputRoot
from penstock.common.settings import Limits

OPERATIONS = [["blur", "median"]]


@pytest.fixture
def root(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with images in subfolders, and other files outside of it."""
    root = tmp_path / "root"
    for name in "a/x.jpg", "a/x.png", "b/x.jpg", "b/deep/er/y.jpg", "b/.hidden/z.jpg", "b/.z.jpg", "top.jpg":
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg)
    (root / "b" / "link.jpg").symlink_to(root / "top.jpg")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(jpeg)
    (root / "escape").symlink_to(tmp_path / "outside")
    return root


def post(coordinator: ApiServer, *inputs: Any) -> Any:
    """Submit a job with inputs."""
    return coordinator.http.post("/v1/jobs", json={"operations": OPERATIONS, "inputs": list(inputs)})


def names(coordinator: ApiServer, answer: Any) -> list[str]:
    """Return the names of a job's images."""
    assert answer.status_code == 202, answer.text
    page = coordinator.http.get(f"{answer.json()['url']}/images").json()
    return [image["name"] for image in page["images"]]


def test_a_folder_is_listed_recursively_with_links_and_without_hidden_files(serve: Serve, root: Path) -> None:
    coordinator = serve(input_root=InputRoot(root))
    assert names(coordinator, post(coordinator, {"prefix": "b"})) == ["link.jpg", "x.jpg", "deep/er/y.jpg"]
    everything = ["top.jpg", "escape", "a/x.jpg", "a/x.png", "b/link.jpg", "b/x.jpg", "b/deep/er/y.jpg"]
    assert names(coordinator, post(coordinator, {"prefix": str(root)})) == everything


def test_a_link_to_itself_in_a_list_fails_alone(serve: Serve, root: Path) -> None:
    coordinator = serve(input_root=InputRoot(root))
    (root / "loop").symlink_to("loop")
    (root / "list.txt").write_text("a/x.jpg\nloop/x.jpg\n")
    assert names(coordinator, post(coordinator, {"manifest": "list.txt"})) == ["a/x.jpg", "loop/x.jpg"]


def test_several_inputs_are_named_from_their_common_folder_and_counted_once(serve: Serve, root: Path) -> None:
    coordinator = serve(input_root=InputRoot(root))
    answer = post(coordinator, {"prefix": "a/"}, "b/x.jpg", "a/x.jpg", {"prefix": "b/deep"}, "b/x.jpg")
    assert names(coordinator, answer) == ["b/x.jpg", "a/x.jpg", "a/x.png", "b/deep/er/y.jpg"]
    assert names(coordinator, post(coordinator, "a/x.jpg")) == ["x.jpg"]


def test_results_and_inputs_in_folders_are_found_below_static(serve: Serve, root: Path, jpeg: bytes) -> None:
    coordinator = serve(input_root=InputRoot(root))
    job = post(coordinator, {"prefix": "."}).json()
    coordinator.scheduler.finish(job["id"])
    results = [entry["url"] for entry in coordinator.http.get(f"{job['url']}/results").json()["results"]]
    assert f"/static/{job['id']}/processed/a/x.jpg.jpg" in results
    assert f"/static/{job['id']}/processed/b/deep/er/y.jpg" in results
    assert all(coordinator.http.get(url).status_code == 200 for url in results)
    sent = coordinator.http.get(f"/static/{job['id']}/sent/b/deep/er/y.jpg")
    assert (sent.content, sent.headers["content-type"]) == (jpeg, "image/jpeg")


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ("../outside/secret.jpg", 403, "source_forbidden"),
        ("../nowhere", 403, "source_forbidden"),
        ("/etc/passwd", 403, "source_forbidden"),
        ("escape/secret.jpg", 403, "source_forbidden"),
        ({"prefix": "escape"}, 403, "source_forbidden"),
        ({"prefix": ".."}, 403, "source_forbidden"),
        ("b/.z.jpg", 403, "source_forbidden"),
        ("missing.jpg", 422, "source_not_found"),
        ({"prefix": "missing/"}, 422, "source_not_found"),
        ("a", 422, "source_not_found"),
        ({"prefix": "top.jpg"}, 422, "source_not_found"),
        ("n" * 5_000, 422, "source_not_found"),
    ],
)
def test_an_input_outside_of_the_root_or_missing_is_refused(
    serve: Serve, root: Path, given: Any, status: int, code: str
) -> None:
    coordinator = serve(input_root=InputRoot(root))
    answer = post(coordinator, "top.jpg", given)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["pointer"]) == (status, code, "/inputs/1"), problem
    assert str(root.parent) not in answer.text
    assert coordinator.services.repository.count_open_jobs() == 0


def test_without_a_root_no_inputs_are_read(coordinator: ApiServer) -> None:
    answer = post(coordinator, "top.jpg")
    assert (answer.status_code, answer.json()["code"]) == (403, "source_forbidden")


def test_a_folder_with_too_many_images_is_refused_and_leaves_nothing(serve: Serve, root: Path) -> None:
    coordinator = serve(input_root=InputRoot(root), limits=Limits(max_images=2))
    answer = post(coordinator, {"prefix": "."})
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_images")
    assert coordinator.services.repository.count_open_jobs() == 0
    assert coordinator.http.get("/v1/jobs").json()["jobs"] == []


def test_only_files_that_are_empty_or_too_large_fail(serve: Serve, root: Path) -> None:
    (root / "a" / "empty.jpg").touch()
    (root / "a" / "large.jpg").write_bytes(bytes(20_000))
    coordinator = serve(input_root=InputRoot(root), limits=Limits(max_file_bytes=10_000))
    job = post(coordinator, {"prefix": "a"}).json()
    failed = coordinator.http.get(f"{job['url']}/images?state=failed").json()["images"]
    assert [(image["name"], image["error"]["code"]) for image in failed] == [
        ("empty.jpg", "empty_file"),
        ("large.jpg", "too_large_file"),
    ]
    assert job["images"]["pending"] == 2


def test_an_input_that_was_deleted_later_is_not_found(serve: Serve, root: Path) -> None:
    coordinator = serve(input_root=InputRoot(root))
    job = post(coordinator, "top.jpg").json()
    (root / "top.jpg").unlink()
    assert coordinator.http.get(f"/static/{job['id']}/sent/top.jpg").json()["code"] == "not_found"


def test_file_names_that_are_not_text_are_shown_and_stay_distinct(serve: Serve, root: Path) -> None:
    for raw in b"\xff.jpg", b"\xfe.jpg", b"new\nline.jpg":
        Path(root / "a" / raw.decode(errors="surrogateescape")).write_bytes(b"\xff\xd8\xff" + raw)
    coordinator = serve(input_root=InputRoot(root))
    job = post(coordinator, {"prefix": "a"}).json()
    images = coordinator.http.get(f"{job['url']}/images").json()["images"]
    assert len({image["name"] for image in images}) == 5
    sent = {coordinator.http.get(image["sent"]).content for image in images}
    assert {b"\xff\xd8\xff\xff.jpg", b"\xff\xd8\xff\xfe.jpg", b"\xff\xd8\xffnew\nline.jpg"} <= sent


@pytest.mark.parametrize("name", ["b/x.jpg.regions.json", "b/x.regions.json"])
def test_images_have_regions_from_sidecars_and_lists(serve: Serve, root: Path, name: str) -> None:
    (root / name).write_text('[{"box": [1, 2, 3, 4]}]')
    (root / "list.txt").write_text('b/x.jpg\n{"uri": "a/x.png", "regions": [{"box": [1, 2, 3, 4]}]}\n')
    coordinator = serve(input_root=InputRoot(root))
    expected = {"b/x.jpg": f"file://{root}/{name}"}
    assert regions(coordinator, post(coordinator, {"prefix": "b"}, "top.jpg")) == expected
    assert regions(coordinator, post(coordinator, "b/x.jpg", "top.jpg")) == expected
    assert regions(coordinator, post(coordinator, {"manifest": "list.txt"}, {"prefix": "b"})) == {
        "b/x.jpg": f"file://{root}/{name}",
        "a/x.png": '[{"box":[1.0,2.0,3.0,4.0]}]',
    }


def regions(coordinator: ApiServer, answer: Any) -> dict[str, str]:
    """Return the regions of a job's images by name, of those that have any."""
    assert answer.status_code == 202, answer.text
    rows = coordinator.services.repository.list_images(answer.json()["id"], limit=100)
    return {row.name: row.regions for row in rows if row.regions}


def test_the_servers_own_data_is_never_an_input(serve: Serve, root: Path, jpeg: bytes) -> None:
    (root / "data" / "store" / "uploads").mkdir(parents=True)
    (root / "data" / "store" / "uploads" / "0").write_bytes(jpeg)
    (root / "b" / "data").symlink_to(root / "data")
    (root / "b" / "upload.jpg").symlink_to(root / "data" / "store" / "uploads" / "0")
    (root / "list.txt").write_text("b/x.jpg\nb/data/store/uploads/0\n")
    coordinator = serve(input_root=InputRoot(root, (root / "data",)))
    for given in (
        "data/store/uploads/0",
        "b/data/store/uploads/0",
        "b/upload.jpg",
        {"prefix": "data"},
        {"prefix": "b/data/store"},
        {"manifest": "data/store/uploads/0"},
        {"manifest": "list.txt"},
    ):
        answer = post(coordinator, given)
        assert (answer.status_code, answer.json()["code"]) == (403, "source_forbidden"), given
    assert names(coordinator, post(coordinator, {"prefix": "b"})) == ["link.jpg", "x.jpg", "deep/er/y.jpg"]
    everything = names(coordinator, post(coordinator, {"prefix": "."}))
    assert not [name for name in everything if "data" in name or "upload" in name]


def test_a_file_that_becomes_private_or_a_pipe_is_not_sent(serve: Serve, root: Path, jpeg: bytes) -> None:
    coordinator = serve(input_root=InputRoot(root, (root / "data",)))
    job = post(coordinator, "a/x.jpg", "b/x.jpg", "top.jpg").json()
    (root / "a").rename(root / "data")
    (root / "a").symlink_to("data")
    (root / "top.jpg").unlink()
    os.mkfifo(root / "top.jpg")
    sent = [coordinator.http.get(f"/static/{job['id']}/sent/{name}") for name in ("a/x.jpg", "b/x.jpg", "top.jpg")]
    assert [answer.status_code for answer in sent] == [404, 200, 404]
    assert post(coordinator, "top.jpg").json()["code"] == "source_not_found"


def test_a_link_swapped_in_while_files_are_sent_shows_nothing_outside(serve: Serve, root: Path) -> None:
    coordinator = serve(input_root=InputRoot(root))
    job = post(coordinator, "a/x.jpg").json()
    secret = root.parent / "outside" / "secret.jpg"
    secret.write_bytes(b"\xff\xd8\xffsecret")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            os.rename(root / "a" / "x.jpg", root.parent / "kept")
            (root / "a" / "x.jpg").symlink_to(secret)
            os.rename(root.parent / "kept", root / "a" / "x.jpg")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        answers = [coordinator.http.get(f"/static/{job['id']}/sent/x.jpg") for _ in range(1_000)]
    finally:
        done.set()
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 404}
    assert all(b"secret" not in answer.content for answer in answers)
