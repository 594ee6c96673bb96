"""`/v1/inputs`: shows what a job may name below the input root, in pages, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.input_root import DATABASE, InputRoot
from penstock.coordinator.auth.keys import Keys, make_key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for inputs with a private folder, links and hidden files in it, and a secret beside it."""
    folder = tmp_path / "root"
    for name in ("delft/north", "data", ".git"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / DATABASE).touch()
    for name in ("b.jpg", "a10.png", "delft/1.jpg", "delft/list.txt", ".hidden.jpg", "line\nbreak.jpg"):
        (folder / name).write_bytes(b"12345")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out").symlink_to(tmp_path)
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "inside").symlink_to(folder / "delft")
    (folder / "broken").symlink_to(folder / "nowhere")
    return folder


def names(answer) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    return [(entry["path"], entry["kind"]) for entry in answer.json()["entries"]]


def test_a_folder_is_listed_without_what_no_job_may_read(serve, root: Path) -> None:
    http = serve(input_root=InputRoot(root)).http
    assert names(http.get("/v1/inputs")) == [("./", "folder")]
    top = [("delft/", "folder"), ("inside/", "folder"), ("a10.png", "image"), ("b.jpg", "image")]
    assert names(http.get("/v1/inputs?path=./")) == names(http.get("/v1/inputs?path=.")) == top
    below = [("delft/north/", "folder"), ("delft/1.jpg", "image"), ("delft/list.txt", "file")]
    assert names(http.get("/v1/inputs?path=delft/")) == names(http.get("/v1/inputs?path=inside/")) == below
    assert http.get("/v1/inputs?path=delft").json()["entries"][1]["size"] == 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("..", 403), ("out", 403), ("/etc", 403), (".git", 403), ("data", 403), ("s3://photos/", 403),
        ("b.jpg", 422), ("nowhere", 422), ("%00", 422),
    ],
)  # fmt: skip
def test_other_folders_are_refused(serve, root: Path, path: str, status: int) -> None:
    answer = serve(input_root=InputRoot(root)).http.get(f"/v1/inputs?path={path}")
    assert (answer.status_code, answer.json()["pointer"]) == (status, "/path")


def test_a_large_folder_comes_in_pages(serve, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "zoo").mkdir(parents=True)
    for number in range(25):
        (root / f"{number:02}.jpg").touch()
    http = serve(input_root=InputRoot(root)).http
    found, url = [], "/v1/inputs?path=.&limit=10"
    while url:
        page = http.get(url).json()
        assert len(page["entries"]) <= 10
        found += [entry["name"] for entry in page["entries"]]
        url = page["next"]
    assert found == ["zoo", *(f"{number:02}.jpg" for number in range(25))]


def test_without_a_folder_for_inputs_there_is_nothing_to_browse(coordinator) -> None:
    assert names(coordinator.http.get("/v1/inputs")) == []
    assert coordinator.http.get("/v1/inputs?path=.").json()["code"] == "source_forbidden"


def test_browsing_needs_a_key(serve, root: Path) -> None:
    token, key = make_key("delft")
    http = serve(input_root=InputRoot(root), keys=Keys([key])).http
    assert http.get("/v1/inputs?path=.").status_code == 401
    assert http.get("/v1/inputs?path=.", headers={"Authorization": f"Bearer {token}"}).status_code == 200
