"""Every check of the ledger finds what it is there for, and nothing where all is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from audit import CHECKS, Entry, Job, World, audit
from workload import Wanted

RESULTS = {"a.jpg": {"a-0.jpg": "aa"}, "b.jpg": {"b-0.jpg": "bb"}}
CODES = {"cut.jpg": "truncated_image"}
COUNTS = {"total": 3, "pending": 0, "queued": 0, "running": 0, "done": 2, "failed": 1, "cancelled": 0}


def image(name: str, state: str, code: str | None = None) -> dict[str, Any]:
    results = [{"name": result} for result in RESULTS.get(name, {})] if state == "done" else []
    return {"name": name, "state": state, "error": code and {"code": code}, "results": results}


def make_job(name: str = "job", identifier: str = "1") -> Job:
    images = [image("a.jpg", "done"), image("b.jpg", "done"), image("cut.jpg", "failed", "truncated_image")]
    manifest = [{"name": "a-0.jpg", "sha256": "aa"}, {"name": "b-0.jpg", "sha256": "bb"}]
    shown = {"id": identifier, "name": name, "state": "partial", "run": 0, "images": dict(COUNTS)}
    return Job(shown, images, manifest, {"a-0.jpg": "aa", "b-0.jpg": "bb"})


def make_world() -> World:
    entry = Entry(Wanted(RESULTS, CODES), sent=2, acknowledged={"1"}, states={"1/0": ["running", "partial"]})
    totals = {"done": 2, "truncated_image": 1}
    return World({"job": entry}, [make_job()], Counter(), totals, [], {"penstock.events": 0}, [])


def lose_the_job(world: World) -> None:
    world.jobs = []
    world.totals = {}


def lose_an_image(world: World) -> None:
    job = world.jobs[0]
    del job.images[2]
    job.shown["images"] |= {"total": 2, "failed": 0}
    job.shown["state"] = "succeeded"
    world.totals = {"done": 2}


def add_a_job(world: World) -> None:
    world.jobs = [*world.jobs, make_job("another", "2")]
    world.totals = {"done": 4, "truncated_image": 2}


def keep_a_deleted_job(world: World) -> None:
    world.entries["job"].deleted = True


def store_another_file(world: World) -> None:
    world.jobs[0].stored["c-0.jpg"] = "cc"


def make_a_job_twice(world: World) -> None:
    world.jobs = [*world.jobs, make_job("job", "2")]
    world.totals = {"done": 4, "truncated_image": 2}


def acknowledge_two_jobs(world: World) -> None:
    world.entries["job"].acknowledged.add("2")
    world.jobs = [*world.jobs, make_job("job", "2")]
    world.totals = {"done": 4, "truncated_image": 2}


def list_a_result_twice(world: World) -> None:
    world.jobs[0].manifest.append(world.jobs[0].manifest[0])


def count_an_image_twice(world: World) -> None:
    world.jobs[0].shown["images"]["done"] = 3


def go_back(world: World) -> None:
    world.entries["job"].states["1/0"] = ["partial", "running", "partial"]


def store_other_bytes(world: World) -> None:
    world.jobs[0].stored["a-0.jpg"] = "xx"


def lose_a_file(world: World) -> None:
    del world.jobs[0].stored["a-0.jpg"]


def make_other_bytes(world: World) -> None:
    world.jobs[0].stored["a-0.jpg"] = world.jobs[0].manifest[0]["sha256"] = "xx"


def hide_a_result(world: World) -> None:
    del world.jobs[0].manifest[0], world.jobs[0].stored["a-0.jpg"]


def fail_for_another_reason(world: World) -> None:
    world.jobs[0].images[2]["error"]["code"] = "internal"
    world.totals = {"done": 2, "internal": 1}


def fail_a_good_image(world: World) -> None:
    job = world.jobs[0]
    job.images[0] = image("a.jpg", "failed", "internal")
    job.shown["images"] |= {"done": 1, "failed": 2}
    del job.manifest[0], job.stored["a-0.jpg"]
    world.totals = {"done": 1, "truncated_image": 1, "internal": 1}


def end_the_job_otherwise(world: World) -> None:
    world.jobs[0].shown["state"] = "succeeded"


def leave_an_image(world: World) -> None:
    job = world.jobs[0]
    job.images[0] = image("a.jpg", "queued")
    job.shown["images"] |= {"done": 1, "queued": 1}
    job.shown["state"] = "running"
    del job.manifest[0], job.stored["a-0.jpg"]
    world.totals = {"done": 1, "truncated_image": 1, "queued": 1}


def be_late(world: World) -> None:
    world.stuck = ["the end of 1 jobs: not within 60 s"]


def leave_a_blob(world: World) -> None:
    world.leftovers = ["work/0/1/0-1"]


def leave_a_message(world: World) -> None:
    world.queues = {"penstock.dead": 1}


def count_an_end_twice(world: World) -> None:
    world.totals = {"done": 3, "truncated_image": 1}


DOCTORED: list[tuple[str, Callable[[World], None]]] = [
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


def test_nothing_is_found_where_all_is_well() -> None:
    assert audit(make_world()) == {}


@pytest.mark.parametrize(("check", "doctor"), DOCTORED, ids=lambda value: getattr(value, "__name__", None))
def test_a_check_finds_what_it_is_there_for_and_no_other_does(check: str, doctor: Callable[[World], None]) -> None:
    world = make_world()
    doctor(world)
    assert list(audit(world)) == [check]


def test_every_check_was_seen_to_find_something() -> None:
    assert {check for check, _ in DOCTORED} == set(CHECKS)


def test_an_image_of_a_cancelled_job_may_be_cancelled_and_of_no_other() -> None:
    world = make_world()
    job = world.jobs[0]
    job.images[0] = image("a.jpg", "cancelled")
    job.shown["images"] |= {"done": 1, "cancelled": 1}
    job.shown["state"] = "cancelled"
    del job.manifest[0], job.stored["a-0.jpg"]
    world.totals = {"done": 1, "cancelled": 1, "truncated_image": 1}
    world.entries["job"].states = {}
    assert list(audit(world)) == ["wrong outcome"], "nobody has cancelled it"
    world.entries["job"].cancelled = True
    assert audit(world) == {}


def test_what_was_retried_or_deleted_since_is_counted() -> None:
    world = make_world()
    world.ended_before["internal"] = 2
    assert list(audit(world)) == ["miscounted"]
    world.totals = {"done": 2, "truncated_image": 1, "internal": 2}
    assert audit(world) == {}
