"""Audit: every check finds its kind of error, and nothing in a correct final state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from audit import CHECKS, FinalState, Job, Submission, audit
from workload import Expected

RESULTS = {"a.jpg": {"a-0.jpg": "aa"}, "b.jpg": {"b-0.jpg": "bb"}}
CODES = {"cut.jpg": "truncated_image"}
COUNTS = {"total": 3, "pending": 0, "queued": 0, "running": 0, "done": 2, "failed": 1, "cancelled": 0}


def image(name: str, state: str, code: str | None = None) -> dict[str, Any]:
    results = [{"name": result} for result in RESULTS.get(name, {})] if state == "done" else []
    return {"name": name, "state": state, "error": code and {"code": code}, "results": results}


def make_job(name: str = "job", identifier: str = "1") -> Job:
    images = [image("a.jpg", "done"), image("b.jpg", "done"), image("cut.jpg", "failed", "truncated_image")]
    manifest = [{"name": "a-0.jpg", "sha256": "aa"}, {"name": "b-0.jpg", "sha256": "bb"}]
    document = {"id": identifier, "name": name, "state": "partial", "run": 0, "images": dict(COUNTS)}
    return Job(document, images, manifest, {"a-0.jpg": "aa", "b-0.jpg": "bb"})


def make_final_state() -> FinalState:
    submission = Submission(
        Expected(RESULTS, CODES), sent=2, acknowledged={"1"}, states={"1/0": ["running", "partial"]}
    )
    totals = {"done": 2, "truncated_image": 1}
    return FinalState({"job": submission}, [make_job()], Counter(), totals, [], {"penstock.events": 0}, [])


def lose_the_job(final: FinalState) -> None:
    final.jobs = []
    final.totals = {}


def lose_an_image(final: FinalState) -> None:
    job = final.jobs[0]
    del job.images[2]
    job.document["images"] |= {"total": 2, "failed": 0}
    job.document["state"] = "succeeded"
    final.totals = {"done": 2}


def add_a_job(final: FinalState) -> None:
    final.jobs = [*final.jobs, make_job("another", "2")]
    final.totals = {"done": 4, "truncated_image": 2}


def keep_a_deleted_job(final: FinalState) -> None:
    final.submissions["job"].deleted = True


def store_another_file(final: FinalState) -> None:
    final.jobs[0].stored["c-0.jpg"] = "cc"


def make_a_job_twice(final: FinalState) -> None:
    final.jobs = [*final.jobs, make_job("job", "2")]
    final.totals = {"done": 4, "truncated_image": 2}


def acknowledge_two_jobs(final: FinalState) -> None:
    final.submissions["job"].acknowledged.add("2")
    final.jobs = [*final.jobs, make_job("job", "2")]
    final.totals = {"done": 4, "truncated_image": 2}


def list_a_result_twice(final: FinalState) -> None:
    final.jobs[0].manifest.append(final.jobs[0].manifest[0])


def count_an_image_twice(final: FinalState) -> None:
    final.jobs[0].document["images"]["done"] = 3


def go_back(final: FinalState) -> None:
    final.submissions["job"].states["1/0"] = ["partial", "running", "partial"]


def store_other_bytes(final: FinalState) -> None:
    final.jobs[0].stored["a-0.jpg"] = "xx"


def lose_a_file(final: FinalState) -> None:
    del final.jobs[0].stored["a-0.jpg"]


def make_other_bytes(final: FinalState) -> None:
    final.jobs[0].stored["a-0.jpg"] = final.jobs[0].manifest[0]["sha256"] = "xx"


def hide_a_result(final: FinalState) -> None:
    del final.jobs[0].manifest[0], final.jobs[0].stored["a-0.jpg"]


def fail_for_another_reason(final: FinalState) -> None:
    final.jobs[0].images[2]["error"]["code"] = "internal"
    final.totals = {"done": 2, "internal": 1}


def fail_a_good_image(final: FinalState) -> None:
    job = final.jobs[0]
    job.images[0] = image("a.jpg", "failed", "internal")
    job.document["images"] |= {"done": 1, "failed": 2}
    del job.manifest[0], job.stored["a-0.jpg"]
    final.totals = {"done": 1, "truncated_image": 1, "internal": 1}


def end_the_job_otherwise(final: FinalState) -> None:
    final.jobs[0].document["state"] = "succeeded"


def leave_an_image(final: FinalState) -> None:
    job = final.jobs[0]
    job.images[0] = image("a.jpg", "queued")
    job.document["images"] |= {"done": 1, "queued": 1}
    job.document["state"] = "running"
    del job.manifest[0], job.stored["a-0.jpg"]
    final.totals = {"done": 1, "truncated_image": 1, "queued": 1}


def be_late(final: FinalState) -> None:
    final.stuck = ["the end of 1 jobs: not within 60 s"]


def leave_a_blob(final: FinalState) -> None:
    final.leftovers = ["work/0/1/0-1"]


def leave_a_message(final: FinalState) -> None:
    final.queues = {"penstock.dead": 1}


def count_an_end_twice(final: FinalState) -> None:
    final.totals = {"done": 3, "truncated_image": 1}


ERRORS: list[tuple[str, Callable[[FinalState], None]]] = [
    ("lost", lose_the_job),
    ("lost", lose_an_image),
    ("unexpected", add_a_job),
    ("unexpected", keep_a_deleted_job),
    ("unexpected", store_another_file),
    ("doubled", make_a_job_twice),
    ("doubled", acknowledge_two_jobs),
    ("doubled", list_a_result_twice),
    ("doubled", count_an_image_twice),
    ("doubled", go_back),
    ("wrong bytes", store_other_bytes),
    ("wrong bytes", lose_a_file),
    ("wrong bytes", make_other_bytes),
    ("wrong bytes", hide_a_result),
    ("wrong outcome", fail_for_another_reason),
    ("wrong outcome", fail_a_good_image),
    ("wrong outcome", end_the_job_otherwise),
    ("unresolved", leave_an_image),
    ("unresolved", be_late),
    ("left over", leave_a_blob),
    ("left over", leave_a_message),
    ("miscounted", count_an_end_twice),
]


def test_a_correct_final_state_has_no_findings() -> None:
    assert audit(make_final_state()) == {}


@pytest.mark.parametrize(("check", "corrupt"), ERRORS, ids=lambda value: getattr(value, "__name__", None))
def test_each_error_is_found_by_its_check_only(check: str, corrupt: Callable[[FinalState], None]) -> None:
    final = make_final_state()
    corrupt(final)
    assert list(audit(final)) == [check]


def test_every_check_is_tested() -> None:
    assert {check for check, _ in ERRORS} == set(CHECKS)


def test_an_image_of_a_cancelled_job_may_be_cancelled_and_of_no_other() -> None:
    final = make_final_state()
    job = final.jobs[0]
    job.images[0] = image("a.jpg", "cancelled")
    job.document["images"] |= {"done": 1, "cancelled": 1}
    job.document["state"] = "cancelled"
    del job.manifest[0], job.stored["a-0.jpg"]
    final.totals = {"done": 1, "cancelled": 1, "truncated_image": 1}
    final.submissions["job"].states = {}
    assert list(audit(final)) == ["wrong outcome"], "the job was not cancelled"
    final.submissions["job"].cancelled = True
    assert audit(final) == {}


def test_images_that_were_retried_or_deleted_later_are_counted() -> None:
    final = make_final_state()
    final.ended_before["internal"] = 2
    assert list(audit(final)) == ["miscounted"]
    final.totals = {"done": 2, "truncated_image": 1, "internal": 2}
    assert audit(final) == {}
