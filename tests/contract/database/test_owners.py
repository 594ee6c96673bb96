"""Repository contract: owners of jobs and uploads, their usage, and sessions."""

from __future__ import annotations

import time

from penstock.coordinator.ports.repository import ALL_OWNERS, Preset, Scope, Upload, Usage

DAY_SECS = 86_400


def test_a_job_and_an_upload_have_an_owner(driver, repository):
    driver.accepted("job-1", owner="delft")
    driver.accepted("job-2")
    repository.create_upload(Upload("u", 1.0, owner="delft"))
    assert (repository.get_job("job-1", ALL_OWNERS).owner, repository.get_job("job-2", ALL_OWNERS).owner) == (
        "delft",
        "",
    )
    assert repository.get_upload("u", ALL_OWNERS).owner == "delft"


def test_jobs_and_uploads_of_other_owners_are_not_found(driver, repository):
    driver.accepted("job-1", owner="delft")
    repository.create_upload(Upload("u", 1.0, owner="delft"))
    assert repository.get_job("job-1", Scope("delft")).id == "job-1"
    assert repository.get_upload("u", Scope("delft")).id == "u"
    assert repository.get_job("job-1", Scope("gouda")) is repository.get_upload("u", Scope("gouda")) is None
    assert repository.get_job("job-1", Scope("")) is repository.get_upload("u", Scope("")) is None


def test_jobs_are_listed_by_owner_together_with_every_other_filter(driver, repository):
    driver.ended("job-1", owner="delft", labels={"a": "b"})
    driver.accepted("job-2", owner="gouda", labels={"a": "b"})
    driver.accepted("job-3", owner="delft")
    driver.received("job-4", owner="delft")

    def ids(scope, **filters):
        return [job.id for job in repository.list_jobs(scope, limit=9, **filters)]

    delft, gouda = Scope("delft"), Scope("gouda")
    assert ids(ALL_OWNERS) == ["job-3", "job-2", "job-1"]
    assert ids(delft) == ["job-3", "job-1"]
    assert ids(delft, before="job-3") == ids(delft, label=("a", "b")) == ["job-1"]
    assert ids(gouda, state=repository.get_job("job-3", ALL_OWNERS).state) == ["job-2"]
    assert ids(Scope("nobody")) == []


def test_usage_counts_receiving_and_open_jobs_and_the_images_of_today(driver, repository):
    now = time.time()
    assert repository.usage("delft", now) == Usage(0, 0, 0)
    driver.received("job-1", images=3, failed=(0,), owner="delft")
    driver.accepted("job-2", images=4, owner="delft")
    driver.ended("job-3", done=1, failed=1, owner="delft")
    driver.accepted("job-4", images=50, owner="gouda")
    assert repository.usage("delft", now) == Usage(open_jobs=2, open_images=6, images_today=9)
    repository.accept_job("job-1")
    assert repository.usage("delft", now) == Usage(open_jobs=2, open_images=6, images_today=9)


def test_a_cancelled_job_counts_as_open_until_workers_have_left_it(driver, repository):
    driver.accepted("job-1", images=4, owner="delft")
    driver.accepted("job-2", images=3, owner="delft")
    repository.take_pending("job-1", 2)
    for job in ("job-1", "job-2"):
        repository.cancel_job(job)
    now = time.time()
    assert repository.usage("delft", now) == Usage(open_jobs=1, open_images=4, images_today=7)
    assert repository.usage("delft", now + 11.0) == Usage(0, 0, 7)


def test_images_accepted_today_count_after_their_job_was_deleted(driver, repository):
    now = time.time()
    driver.ended("job-1", owner="delft")
    driver.received("job-2", owner="delft")
    repository.delete_job("job-1")
    repository.discard_receiving("job-2")
    assert repository.usage("delft", now) == Usage(0, 0, 2)
    assert repository.usage("delft", now + DAY_SECS) == Usage(0, 0, 0)


def test_a_session_lasts_until_it_expires_or_ends(repository):
    repository.begin_session("s", "sha256:ab", at=10.0, expires_at=20.0, most=9)
    repository.begin_session("t", "sha256:cd", at=10.0, expires_at=30.0, most=9)
    assert repository.find_session("s", 19.0) == "sha256:ab"
    assert repository.find_session("s", 20.0) is None
    repository.end_session("t")
    repository.end_session("t")
    assert repository.find_session("t", 11.0) is None


def test_expired_sessions_are_deleted_when_another_one_begins(repository):
    repository.begin_session("s", "sha256:ab", at=10.0, expires_at=20.0, most=9)
    repository.begin_session("t", "sha256:ab", at=25.0, expires_at=30.0, most=9)
    assert repository.find_session("s", 0.0) is None
    assert repository.find_session("t", 0.0) == "sha256:ab"


def test_the_oldest_sessions_of_a_key_end_when_it_has_too_many(repository) -> None:
    for number in range(5):
        repository.begin_session(f"s{number}", "sha256:ab", at=10.0, expires_at=20.0 + number, most=3)
        repository.begin_session(f"t{number}", "sha256:cd", at=10.0, expires_at=20.0 + number, most=9)
    names = [f"{key}{number}" for key in "st" for number in range(5)]
    found = [name for name in names if repository.find_session(name, at=15.0)]
    assert found == ["s2", "s3", "s4", "t0", "t1", "t2", "t3", "t4"]


def test_an_owner_keeps_presets_by_name_up_to_a_number(repository) -> None:
    small, large = Preset("small", "{}", 10.0), Preset("Large", "{}", 11.0)
    assert [repository.put_preset("delft", preset, most=2) for preset in (small, large, small)] == [True, True, False]
    assert repository.put_preset("delft", Preset("more", "{}", 12.0), most=2) is None
    assert repository.put_preset("gouda", small, most=2) is True
    assert repository.list_presets("delft") == [large, small]
    changed = small._replace(document="[]", changed_at=13.0)
    assert repository.put_preset("delft", changed, most=1) is False
    assert (repository.get_preset("delft", "small"), repository.get_preset("gouda", "small")) == (changed, small)
    assert [repository.delete_preset("delft", "small") for _ in "12"] == [True, False]
    assert repository.get_preset("delft", "small") is None
