"""A fresh installation: start time, results, and idle memory."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
from batches import BATCH_IMAGES, SINGLE_IMAGES, Inputs, Ledger, sha256
from installation import Installation
from kube import call, seconds_since
from measures import Report
from workload import JobSpec, calculate_expected

from penstock.benchmark.http import RefusedError

MAX_REST_MB = {"coordinator": 150, "resize": 250, "split": 250, "blur": 250, "encode": 250}


def test_a_fresh_installation_processes_a_job(main: Installation, inputs: Inputs, report: Report) -> None:
    inputs.expect(inputs.batch()[0])  # takes a while, and must not count as the installation's time
    began = time.monotonic()
    main.release.install()
    report.note("helm install until ready, s", seconds_since(began))
    Ledger(main, inputs).check([JobSpec("first", [["resize", "512x512"]], inputs.copies("first", 1))])
    report.note("helm install to first result, s", seconds_since(began))


def test_a_job_with_a_disabled_step_is_refused_with_the_value_that_enables_it(main: Installation) -> None:
    with main.rest() as door, pytest.raises(RefusedError, match=r"steps\.crop\.enabled=true"):
        door.post_job({"operations": [["crop", "16:9"]], "inputs": ["a.jpg"]})


def test_photographs_give_the_same_bytes_as_on_one_host(ledger: Ledger, inputs: Inputs) -> None:
    final = ledger.check(inputs.batch())
    assert sum(len(job.manifest) for job in final.jobs) == 4 * (BATCH_IMAGES + SINGLE_IMAGES)


def test_several_outputs_give_the_same_bytes_as_on_one_host(main: Installation, inputs: Inputs, tmp_path: Path) -> None:
    outputs = [
        {"name": "thumb", "operations": [["resize", "32x"]], "output": "webp"},
        {"name": "quarters", "operations": [["split"], ["blur", "median"]], "output": "png"},
        {"name": "whole"},
    ]
    spec = JobSpec("outputs", [["resize", "512x"]], inputs.copies("outputs", 5), outputs=outputs)
    expected = calculate_expected(spec, tmp_path).results
    with main.rest() as door:
        job = door.post_job(spec.document, list(spec.files))["id"]
        assert door.wait(job, poll_secs=0.5)["state"] == "succeeded"
        found = {result["name"]: sha256(door.fetch(result["url"])) for result in door.results(job)}
    assert found == {name: digest for results in expected.values() for name, digest in results.items()}
    assert len(found) == 5 * (1 + 4 + 1)


def test_nginx_serves_results_from_its_volume_by_x_accel_redirect(main: Installation) -> None:
    with main.rest() as door:
        result = next(door.results(main.jobs()[0]["id"]))
        sent = door.fetch(result["url"])
    coordinator = f"http://{main.namespace.address('penstock-coordinator')}"
    word = httpx.get(f"{coordinator}{result['url']}", headers={"X-Penstock-Front": "accel"}, timeout=20)
    assert word.headers["x-accel-redirect"].startswith("/internal-store/results/")
    assert (word.content, sha256(sent)) == (b"", result["sha256"])


def test_helm_test_succeeds(main: Installation) -> None:
    assert "succeeded" in main.release.test().lower()


def test_idle_pods_are_small_and_start_quickly(main: Installation, report: Report) -> None:
    ready = {pod.name: pod.secs_to_ready for pod in main.namespace.pods() if pod.ready}
    resident = read_resident_mb(main.namespace.name)
    for component, most in MAX_REST_MB.items():
        (pod,) = main.namespace.ready_pods(component)
        report.note(f"{component}: container's start to ready, s", ready[pod.name] or 0.0)
        report.note(f"{component}: resident at rest, MB", resident[pod.name])
        assert resident[pod.name] <= most


def read_resident_mb(namespace: str) -> dict[str, float]:
    """Return the memory of each pod, as reported by the node."""
    (node,) = json.loads(call("kubectl", "get", "nodes", "--selector=kubernetes.io/os=linux", "-o", "json"))["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
    summary = json.loads(call("kubectl", "get", "--raw", path))
    return {
        pod["podRef"]["name"]: sum(each["memory"]["rssBytes"] for each in pod["containers"]) / 1e6
        for pod in summary["pods"]
        if pod["podRef"]["namespace"] == namespace
    }
