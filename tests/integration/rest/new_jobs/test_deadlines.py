"""Deadlines and highest prices over REST: read, stored, forecast, and refused with what is possible."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from api_server import ApiServer

from penstock.coordinator.ports.scheduler import Forecast, Outlook

LATE = Outlook(7_200.0, False, {"blur": 2}, 4.0, least_secs=3_600.0, least_price=4.0, affordable_secs=9_000.0)
IN_TIME = Outlook(600.0, True, {"blur": 6}, 2.5, least_secs=60.0, least_price=2.0, affordable_secs=600.0)


def submit(coordinator: ApiServer, jpeg: bytes, dry_run: bool = False, **fields: Any) -> httpx.Response:
    document = json.dumps({"operations": [["blur", "median"]], **fields})
    path = f"/v1/jobs?dry_run={dry_run}"
    return coordinator.http.post(path, data={"job": document}, files={"files": ("a.jpg", jpeg)})


def expect(coordinator: ApiServer, outlook: Outlook, *, has_prices: bool = True) -> None:
    coordinator.scheduler.expected = Forecast("blur", 500.0, outlook=outlook)
    coordinator.scheduler.has_prices = has_prices


def test_a_duration_counts_from_acceptance_and_a_time_is_kept(coordinator: ApiServer, jpeg: bytes) -> None:
    expect(coordinator, IN_TIME)
    job = submit(coordinator, jpeg, deadline="2h").json()
    created, deadline, end = (
        datetime.fromisoformat(text) for text in (job["created_at"], job["deadline"], job["forecast"]["finishes_at"])
    )
    assert deadline - created == timedelta(hours=2)
    assert timedelta(seconds=590) < end - created < timedelta(seconds=900)
    assert {name: job["forecast"][name] for name in ("feasible", "replicas", "price")} == {
        "feasible": True,
        "replicas": {"blur": 6},
        "price": 2.5,
    }
    shown = coordinator.http.get(job["url"]).json()
    assert shown["deadline"] == job["deadline"]
    at = "2099-12-01T18:00:00+01:00"
    job = submit(coordinator, jpeg, deadline=at).json()
    assert datetime.fromisoformat(job["deadline"]) == datetime.fromisoformat(at)
    coordinator.scheduler.finish(job["id"])
    assert coordinator.http.get(job["url"]).json()["forecast"] is None, "it has ended"


def test_a_job_without_either_has_no_forecast(coordinator: ApiServer, jpeg: bytes) -> None:
    job = submit(coordinator, jpeg).json()
    assert (job["deadline"], job["max_price"], job["forecast"]) == (None, None, None)


def test_a_late_job_is_accepted_unless_its_deadline_is_strict(coordinator: ApiServer, jpeg: bytes) -> None:
    expect(coordinator, LATE)
    answer = submit(coordinator, jpeg, deadline="30m")
    assert (answer.status_code, answer.json()["forecast"]["feasible"]) == (202, False)
    estimate = submit(coordinator, jpeg, dry_run=True, deadline="30m")
    assert (estimate.status_code, estimate.json()["forecast"]["feasible"]) == (200, False)
    for dry_run in (False, True):
        refused = submit(coordinator, jpeg, dry_run, deadline="30m", deadline_strict=True)
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["pointer"]) == (422, "impossible_deadline", "/deadline")
        assert problem["detail"].endswith(", in 60.0 min")
    assert submit(coordinator, jpeg, deadline="2h", deadline_strict=True).status_code == 202, "possible in an hour"
    assert len(coordinator.http.get("/v1/jobs").json()["jobs"]) == 2


def test_what_is_not_measured_yet_is_accepted(coordinator: ApiServer, jpeg: bytes) -> None:
    expect(coordinator, Outlook())
    answer = submit(coordinator, jpeg, deadline="30m", deadline_strict=True)
    assert (answer.status_code, answer.json()["forecast"]["feasible"]) == (202, None)


def test_a_price_that_cannot_be_kept_is_refused_with_the_least(coordinator: ApiServer, jpeg: bytes) -> None:
    expect(coordinator, IN_TIME)
    assert submit(coordinator, jpeg, cost={"max_price": 2.5}).json()["max_price"] == 2.5
    expect(coordinator, LATE)
    refused = submit(coordinator, jpeg, cost={"max_price": 1.5}).json()
    assert (refused["code"], refused["pointer"]) == ("impossible_price", "/cost/max_price")
    assert "at least 4;" in refused["detail"]
    both = submit(coordinator, jpeg, cost={"max_price": 1.5}, deadline="2h").json()
    assert "to meet its deadline" in both["detail"]
    assert "in 2.5 h" in both["detail"], "when it would end for that price"
    both = submit(coordinator, jpeg, cost={"max_price": 9}, deadline="30m").json()
    assert both["code"] == "impossible_deadline"
    expect(coordinator, IN_TIME, has_prices=False)
    assert submit(coordinator, jpeg, cost={"max_price": 2.5}).json()["code"] == "no_prices"


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"deadline": "soon"}, "invalid_document", "/deadline"),
        ({"deadline": 7}, "invalid_document", "/deadline"),
        ({"deadline": "2026-12-01T18:00:00"}, "invalid_document", "/deadline"),
        ({"deadline": "2020-01-01T00:00:00Z"}, "impossible_deadline", "/deadline"),
        ({"cost": {"max_price": 0}}, "invalid_document", "/cost/max_price"),
        ({"cost": {"most": 1}}, "unknown_field", "/cost/most"),
    ],
)
def test_an_invalid_bound_is_refused(
    coordinator: ApiServer, jpeg: bytes, fields: dict[str, Any], code: str, pointer: str
) -> None:
    refused = submit(coordinator, jpeg, **fields)
    assert (refused.status_code, refused.json()["code"], refused.json()["pointer"]) == (422, code, pointer)
    assert len(refused.json()["detail"].splitlines()) == 1
