"""`penstock plan` as a command: measuring on this host, asking a running system, and checking predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts_loader import load_script
from waiting import wait_until

from penstock.benchmark.http import RestClient
from penstock.benchmark.plan.estimate import ask_server
from penstock.benchmark.plan.measure import measure
from penstock.common.model.errors import PenstockError
from penstock.common.model.plan import make_plan
from penstock.common.settings import Limits
from penstock.local.server_process import find_free_port, serve

TIMEOUT_SECS = 120
OPS = ("--op", "resize=64x48", "--op", "blur=median")
Plan = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def plan() -> Plan:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "penstock", "plan", "--secs", "0.1", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECS, check=False)

    return run


def test_given_images_are_measured_and_replicas_predicted(plan: Plan, drawn: list[Path]) -> None:
    done = plan("--images", "50000", "--deadline", "2h", *OPS, "--photos", str(drawn[0].parent), "--cpu-price", "0.03")
    assert done.returncode == 0, done.stderr
    first, *_ = lines = done.stdout.split("\n")
    assert first.startswith("50,000 images take ")
    assert "1 × resize, 1 × blur, 1 × encode" in first
    assert [line.split()[1] for line in lines[4:7]] == ["resize", "blur", "encode"]
    assert "different ones" in done.stdout


def test_sample_images_are_measured_and_reported_as_json(plan: Plan) -> None:
    done = plan("--images", "10", *OPS, "--size", "200x100", "--output", "png", "--json")
    document = json.loads(done.stdout)
    assert [step["pixels"] for step in document["steps"]] == [64 * 48] * 3
    assert all(step["cpu_ms"] > 0 for step in document["steps"])
    assert document["ways"][0]["placement"] == "fused"
    assert 0 < document["measured"]["share"] <= 1


def test_a_deadline_that_cannot_be_met_is_refused_in_one_line(plan: Plan) -> None:
    done = plan("--op", "split", "--images", "9000000", "--deadline", "1s", "--size", "64x64")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("penstock: a deadline of 1.0 s cannot be met: 9,000,000 images take ")
    assert done.stderr.count("\n") == 1


def test_measuring_ends_when_the_command_is_killed(tmp_path: Path) -> None:
    options = ["--op", "split", "--images", "9", "--size", "64x64", "--secs", "300"]
    command = [sys.executable, "-m", "penstock", "plan", *options]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        wait_until(lambda: len(list(tmp_path.glob("penstock-plan-*/results/0"))) > 0)
    finally:
        process.kill()
        process.wait()

    def is_quiet() -> bool:
        before = written()
        time.sleep(0.2)
        return written() == before

    def written() -> list[int]:
        return sorted(path.stat().st_mtime_ns for path in tmp_path.glob("penstock-plan-*/results/0"))

    wait_until(is_quiet)


def test_unreadable_images_are_skipped_unless_all_are(tmp_path: Path, drawn: list[Path]) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no image")
    asked = make_plan([["blur", "median"]], None, Limits())
    found = measure(asked, [bad, *drawn[:2]], 1, 0.2, Limits())
    assert found.photos == 2
    assert [visit.pixels for visit in found.visits] == [320 * 240] * 2
    with pytest.raises(PenstockError, match="these operations apply to none of the images"):
        measure(asked, [bad], 1, 0.1, Limits())


@pytest.mark.parametrize(("placement", "together"), [("fused", ["encode", "resize"]), ("per_step", [])])
def test_a_running_system_reports_costs_and_steps_that_share_workers(
    tmp_path: Path, drawn: list[Path], placement: str, together: list[str]
) -> None:
    asked = make_plan([["resize", "64x48"], ["blur", "median"]], None, Limits())
    log = tmp_path / "log"
    with (
        serve(
            ["--data", str(tmp_path / "data"), "--workers", "1", "--placement", placement],
            port=find_free_port(),
            log=log,
        ) as (url, _),
        RestClient(url) as client,
    ):
        with pytest.raises(PenstockError, match="has not measured blur, encode, resize yet"):
            ask_server(url, asked, (320, 240))
        job = client.post_job({"operations": [["resize", "64x48"], ["blur", "median"]]}, drawn)["id"]
        assert client.wait(job, poll_secs=0.05)["state"] == "succeeded"
        visits, source = ask_server(url, asked, (320, 240))
        others, over_all = ask_server(url, make_plan([["blur", "median"]], None, Limits()), (320, 240))
        shown = json.loads(client.send("GET", "/v1/steps"))
    assert [(visit.step, visit.pixels) for visit in visits] == [("resize", 3072), ("blur", 3072), ("encode", 3072)]
    assert all(visit.secs > 0 for visit in [*visits, *others])
    assert f"in job {job}, which has the same plan" in source
    assert "over all its jobs: none of the last 20 has the same plan" in over_all
    assert next(step["shared_with"] for step in shown["steps"] if step["name"] == "blur") == together
    assert shown["advice"] is None, "nothing is left to do"


def test_the_check_runs_what_it_predicts(tmp_path: Path, drawn: list[Path]) -> None:
    script = load_script("check_plan")
    found = script.Check(tmp_path, drawn[0].parent, 0.05, duration_secs=0.000_01).run(1, script.PLANS[1:2])
    assert {(each.plan, each.way) for each in found} == {(script.PLANS[1][0], way) for way in script.START_SECS}
    assert all(each.images == len(drawn) for each in found)
    assert all(each.predicted[0] > 0 and each.measured[0] > 0 for each in found)
