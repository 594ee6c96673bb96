"""Deadlines: of two equal jobs, the tighter deadline gets more pods and goes first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from batches import Inputs
from installation import TIMEOUT_SECS, Installation
from kube import wait_for
from measures import Report
from workload import environment

STEP = "blur"
PLAN = [["resize", "2400x1800"], ["blur", "bilateral"]]
FIRST_IMAGES = 6
WORK_SECS, TIGHT_SECS, LOOSE_SECS = 60.0, 60, 600
"""How long one worker of the step takes for a job; a deadline that two workers meet and one misses, and another."""


@pytest.fixture
def scaled_by_keda(main: Installation, keda: None) -> Iterator[None]:
    """KEDA scales the step by wanted workers; afterwards it has one pod and no autoscaler."""
    values = {
        "mode": "keda",
        "minReplicas": 1,
        "maxReplicas": 4,
        "pollingIntervalSeconds": 2,
        "cooldownSeconds": 5,
        "scaleDownStabilizationSeconds": 5,
        "backlogSecondsPerReplica": 600,
    }
    main.release.upgrade({"steps": {STEP: {"autoscaling": values}}})
    main.release.wait_for(STEP, 1)
    yield
    main.release.upgrade({"steps": {STEP: {"autoscaling": {"mode": "none"}}}})
    main.release.scale(STEP, 1)
    main.release.wait_for(STEP, 1)


@pytest.mark.usefixtures("scaled_by_keda")
def test_the_tighter_of_two_deadlines_wants_more_workers_and_goes_first(
    main: Installation, inputs: Inputs, report: Report
) -> None:
    submit(main, inputs.copies("measured", FIRST_IMAGES), "measured")  # the others are predicted with its times
    wait_for("the first job", lambda: find(main, "measured")["finished_at"], TIMEOUT_SECS)
    wanted = {}
    files = inputs.copies("due", round(WORK_SECS / find_image_secs(main)))
    for name, secs in (("loose", LOOSE_SECS), ("tight", TIGHT_SECS)):
        said = submit(main, files, name, "--deadline", f"{secs}s")
        assert f"replicas resize 1, {STEP} " in said, said
        wanted[name] = main.step(STEP)["wanted_workers"]
        note_forecast(report, name, find(main, name), wanted[name])
    assert wanted["loose"] == 1 < wanted["tight"]
    wait_for("another pod", lambda: len(main.namespace.ready_pods(STEP)) > 1)
    jobs = {}
    for name in wanted:
        jobs[name] = job = wait_for(f"the end of {name}", lambda name=name: ended(find(main, name)), TIMEOUT_SECS)
        report.note(f"{name} deadline: ended after, s", secs_between(job["created_at"], job["finished_at"]))
        assert (job["state"], job["images"]["done"]) == ("succeeded", len(files))
    # The tighter one is met where nothing else runs; how busy this machine is must not decide.
    assert jobs["tight"]["finished_at"] < jobs["loose"]["finished_at"] <= jobs["loose"]["deadline"]


def find_image_secs(main: Installation) -> float:
    """Return how long the step takes for an image here, as measured in an earlier job."""
    document = json.dumps({"operations": PLAN}).encode()
    headers = {"Content_Type": "application/json"}
    steps = main.client.request("POST", "/v1/jobs?dry_run=true&images=1", document, **headers).json["steps"]
    [secs] = [float(step["seconds_per_image"]) for step in steps if step["step"] == STEP]
    return secs


def note_forecast(report: Report, name: str, job: dict[str, Any], wanted: int) -> None:
    forecast = job["forecast"]
    assert forecast["feasible"], forecast
    report.note(f"{name} deadline: blur workers wanted", wanted)
    report.note(f"{name} deadline: time given, s", secs_between(job["created_at"], job["deadline"]))
    report.note(f"{name} deadline: expected to end after, s", secs_between(job["created_at"], forecast["finishes_at"]))


def submit(main: Installation, files: list[Path], name: str, *options: str) -> str:
    """Submit a job by the command line; return what it says."""
    operations = [f"--op={operation}={value}" for operation, value in PLAN]
    command = [sys.executable, "-m", "penstock", "submit", *map(str, files), *operations, "--name", name, *options]
    done = subprocess.run(
        [*command, "--server", main.url],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def find(main: Installation, name: str) -> dict[str, Any]:
    [job] = [job for job in main.jobs() if job["name"] == name]
    found: dict[str, Any] = main.ask(f"/v1/jobs/{job['id']}")
    return found


def ended(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["finished_at"] else None


def secs_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
