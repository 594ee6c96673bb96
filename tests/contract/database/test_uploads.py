"""Repository contract: uploads, their files, and the jobs that read them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock.coordinator.database import uploads
from penstock.coordinator.ports.repository import (
    ALL_OWNERS,
    ConflictError,
    OpenUploads,
    Repository,
    Upload,
    UploadFile,
    UploadNotFoundError,
)


def file(name: str, **fields: Any) -> UploadFile:
    given = {"key": f"uploads/u/{name}", "size_bytes": 10, "kind": "jpeg", "sha256": "ab" * 32}
    return UploadFile(name, **{**given, **fields})


def names(repository: Repository, upload: str = "u") -> list[str]:
    return [found.name for found in repository.list_upload_files(upload, limit=100)]


@pytest.fixture
def upload(repository: Repository) -> str:
    repository.create_upload(Upload("u", changed_at=10.0))
    return "u"


def test_an_upload_counts_its_files(repository, upload):
    assert repository.get_upload("u", ALL_OWNERS) == Upload("u", 10.0)
    given = [file("b.jpg", size_bytes=5_000_000_000), file("a/b.png", kind="png"), file("notes.txt", kind=None)]
    assert [repository.add_upload_file("u", one, 20.0 + index) for index, one in enumerate(given)] == given
    assert repository.get_upload("u", ALL_OWNERS) == Upload("u", 22.0, files=3, images=2, size_bytes=5_000_000_020)
    assert repository.get_upload_file("u", "b.jpg") == given[0]
    assert repository.get_upload_file("u", "c.jpg") is None


def test_files_are_listed_in_pages_by_the_bytes_of_their_names(repository, upload):
    for name in ("b", "é", "B", "a/z", "a"):
        repository.add_upload_file("u", file(name), 1.0)
    assert names(repository) == ["B", "a", "a/z", "b", "é"]
    assert [one.name for one in repository.list_upload_files("u", after="a", limit=2)] == ["a/z", "b"]
    assert repository.list_upload_files("nobody", limit=9) == []


def test_the_first_file_of_a_name_stays(repository, upload):
    first, second = file("a", key="1"), file("a", key="2", sha256="cd" * 32)
    repository.add_upload_file("u", first, 1.0)
    assert repository.add_upload_file("u", second, 2.0) == first
    assert repository.get_upload("u", ALL_OWNERS).files == 1


def test_concurrent_requests_add_each_file_once(repository, upload):
    def add(number: int) -> str:
        return repository.add_upload_file("u", file(f"{number % 10}", key=f"{number}"), 1.0).key

    with ThreadPoolExecutor(4) as pool:
        standing = set(pool.map(add, range(40)))
    assert len(standing) == repository.get_upload("u", ALL_OWNERS).files == len(names(repository)) == 10
    assert standing == {one.key for one in repository.list_upload_files("u", limit=99)}


def test_an_unknown_upload_takes_no_file(repository):
    with pytest.raises(UploadNotFoundError):
        repository.add_upload_file("u", file("a"), 1.0)
    assert repository.get_upload("u", ALL_OWNERS) is None


def test_an_upload_that_a_job_reads_takes_no_new_file_and_is_not_discarded(driver, repository, upload):
    repository.add_upload_file("u", file("a"), 1.0)
    driver.ended(upload="u")
    with pytest.raises(ConflictError):
        repository.add_upload_file("u", file("b"), 2.0)
    assert repository.add_upload_file("u", file("a", key="other"), 2.0) == file("a")
    assert repository.discard_uploads("u") == repository.discard_uploads(before=99.0) == []
    repository.delete_job("job-1")
    assert repository.uploads_in_use(["u", "v"]) == {"u"}
    assert repository.discard_uploads("u") == ["u"]
    assert repository.uploads_in_use(["u"]) == set()


def test_a_discarded_job_leaves_its_upload_open(driver, repository, upload):
    driver.received(upload="u")
    with pytest.raises(ConflictError):
        repository.add_upload_file("u", file("a"), 1.0)
    repository.discard_receiving("job-1")
    assert repository.add_upload_file("u", file("a"), 1.0) == file("a")


def test_only_uploads_that_have_not_changed_for_long_are_discarded(repository, upload):
    for name, at in (("v", 10.0), ("w", 30.0)):
        repository.create_upload(Upload(name, changed_at=at))
    repository.add_upload_file("v", file("a"), 25.0)
    assert repository.discard_uploads(before=20.0) == ["u"]
    assert repository.get_upload("u", ALL_OWNERS) is None
    assert repository.get_upload("v", ALL_OWNERS).files == 1
    assert sorted(repository.discard_uploads(before=99.0)) == ["v", "w"]


def test_a_discarded_upload_is_gone_with_all_its_files(repository, upload, monkeypatch):
    monkeypatch.setattr(uploads, "FILES_PER_PAGE", 3)
    for number in range(8):
        repository.add_upload_file("u", file(f"{number}"), 1.0)
    assert repository.discard_uploads("u") == ["u"]
    assert repository.discard_uploads("u") == []
    with pytest.raises(UploadNotFoundError):
        repository.add_upload_file("u", file("9"), 1.0)
    repository.create_upload(Upload("u", 1.0))
    assert names(repository) == []


def test_the_next_start_deletes_what_a_crash_left_of_a_discarded_upload(open_repository, upload, repository):
    repository.add_upload_file("u", file("a"), 1.0)
    repository._database.write(uploads.discard, "u", None)
    again = open_repository()
    assert again._database.read(uploads.unfinished_deletions) == []
    again.create_upload(Upload("u", 1.0))
    assert names(again) == []


def test_creating_a_job_and_discarding_its_upload_exclude_each_other(driver, repository):
    """Either the job finds all files, or the upload was discarded before."""
    for number in range(20):
        upload, job = f"u{number}", f"job-{number}"
        repository.create_upload(Upload(upload, 1.0))
        repository.add_upload_file(upload, file("a"), 1.0)
        discarded: list[str] = []
        thread = threading.Thread(target=lambda u=upload, d=discarded: d.extend(repository.discard_uploads(u)))
        thread.start()
        repository.create_job(driver.job(job, upload=upload))
        found = names(repository, upload)
        thread.join()
        assert found == ([] if discarded else ["a"])
        assert names(repository, upload) == found


def test_open_uploads_are_those_that_no_job_reads(driver, repository, upload):
    assert repository.open_uploads("delft") == OpenUploads(0, 0, 1, 0)
    for name in "v", "w":
        repository.create_upload(Upload(name, changed_at=10.0, owner="delft"))
        repository.add_upload_file(name, file("x.jpg", size_bytes=5_000_000_000), 20.0)
    repository.add_upload_file("u", file("x.jpg", size_bytes=7), 20.0)
    assert repository.open_uploads("delft") == OpenUploads(2, 10_000_000_000, 3, 10_000_000_007)
    driver.received(upload="v")
    assert repository.open_uploads("delft") == OpenUploads(1, 5_000_000_000, 2, 5_000_000_007)
    repository.discard_uploads("w")
    assert repository.open_uploads("delft") == OpenUploads(0, 0, 1, 7)
