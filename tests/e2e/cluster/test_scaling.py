"""Scaling a step: by hand, by CPU, by backlog; and which pod is deleted first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from batches import SLOW, Inputs, Ledger
from installation import Installation
from kube import CommandError, seconds_since, wait_for
from measures import Report
from workload import JobSpec

STEP = "blur"
BUSY = [["resize", "2400x1800"], *([["blur", "bilateral"]] * 30)]
"""One image keeps a blur pod busy for about 20 s, and its pod then counts as busy for 30 s more."""
SCALED_SECS = 150.0
LOAD_IMAGES = 80


@pytest.fixture(autouse=True)
def one_replica_by_hand(main: Installation) -> Iterator[None]:
    """Each test starts and ends with one pod of the step and no autoscaler."""
    yield
    if "autoscaling" in main.release.values.get("steps", {}).get(STEP, {}):
        main.release.upgrade({"steps": {STEP: {"autoscaling": {"mode": "none"}}}})
    main.release.scale(STEP, 1)
    main.release.wait_for(STEP, 1)


def desired(main: Installation) -> int:
    return int(main.namespace.get(f"deployment/{main.release.name}-{STEP}")["spec"]["replicas"])


def test_an_upgrade_keeps_replicas_that_were_scaled_by_hand(main: Installation) -> None:
    main.release.scale(STEP, 2)
    main.release.upgrade({"steps": {STEP: {"podAnnotations": {"example.com/changed": "yes"}}}})
    assert desired(main) == 2
    main.release.wait_for(STEP, 2)
    annotations = main.namespace.pods(STEP)[0].shown["metadata"]["annotations"]
    assert annotations["example.com/changed"] == "yes", "the upgrade did change something"


def test_added_pods_get_work_at_once(main: Installation, ledger: Ledger, inputs: Inputs, report: Report) -> None:
    began, worked_at = time.monotonic(), dict[str, float]()

    def have_worked() -> bool:
        for pod in pods_at_work(main):
            worked_at.setdefault(pod, seconds_since(began))
        return len(worked_at) == 4

    def scale_out() -> None:
        nonlocal began
        began = time.monotonic()
        main.release.scale(STEP, 4)
        main.release.wait_for(STEP, 4)
        report.note("kubectl scale from 1 to 4 blur pods until all are ready, s", seconds_since(began))
        wait_for("work in four pods", have_worked, pause_secs=0.1)
        report.note("kubectl scale from 1 to 4 blur pods until each has worked, s", max(worked_at.values()))

    report.survive("blur scaled out from 1 to 4", ledger.check(inputs.batch(200), scale_out))
    ready = [pod.secs_to_ready or 0.0 for pod in main.namespace.ready_pods(STEP)]
    report.note("added blur pods: container's start to ready, at most, s", max(ready))


def pods_at_work(main: Installation) -> list[str]:
    """Return the step's busy pods, by the liveness file of each."""
    return [pod.name for pod in main.namespace.ready_pods(STEP) if read_state(main, pod.name) == "busy"]


def read_state(main: Installation, pod: str) -> str:
    try:
        return main.namespace.kubectl("exec", pod, "--", "cat", "/tmp/penstock-alive")
    except CommandError:
        return ""  # the pod was just deleted


def test_scaling_in_deletes_the_idle_pod_first(main: Installation, ledger: Ledger, inputs: Inputs) -> None:
    main.release.scale(STEP, 2)
    main.release.wait_for(STEP, 2)
    wait_for("pods that say that they are idle", lambda: not costly_pods(main), SCALED_SECS)
    busy_job = JobSpec("busy", BUSY, inputs.copies("busy", 1))
    inputs.expect(busy_job)
    ledger.send(busy_job)
    (busy,) = wait_for("a busy pod that says so", lambda: costly_pods(main), SCALED_SECS, pause_secs=0.2)
    main.release.scale(STEP, 1)
    main.release.wait_for(STEP, 1)
    assert [pod.name for pod in main.namespace.pods(STEP)] == [busy]
    ledger.finish()


def costly_pods(main: Installation) -> list[str]:
    """Return the step's pods with a deletion cost."""
    return [pod.name for pod in main.namespace.ready_pods(STEP) if pod.deletion_cost > 0]


def test_the_autoscaler_scales_a_step_out_under_load_and_in_afterwards(
    main: Installation, ledger: Ledger, inputs: Inputs, report: Report
) -> None:
    by_cpu = {"mode": "hpa", "minReplicas": 1, "maxReplicas": 3, "scaleDownStabilizationSeconds": 10}
    main.release.upgrade({"steps": {STEP: {"autoscaling": by_cpu, "resources": {"requests": {"cpu": "100m"}}}}})
    began = time.monotonic()
    wait_for("more pods by CPU", lambda: grows_under_load(main, ledger, inputs), SCALED_SECS)
    report.note("HPA: load until a second blur pod is ready, s", seconds_since(began))
    ledger.finish()
    began = time.monotonic()
    wait_for("one pod again", lambda: desired(main) == 1, SCALED_SECS)
    report.note("HPA: end of load until one blur pod again, s", seconds_since(began))


def grows_under_load(main: Installation, ledger: Ledger, inputs: Inputs) -> bool:
    """Submit another job if the step is running out of work; return whether it has more than one pod."""
    if main.step(STEP)["remaining"] < LOAD_IMAGES / 2:
        ledger.send(JobSpec(f"load-{time.monotonic_ns()}", SLOW, inputs.copies("load", LOAD_IMAGES)))
    return len(main.namespace.ready_pods(STEP)) > 1


def test_the_coordinator_scales_a_step_from_zero_and_back(
    main: Installation, ledger: Ledger, inputs: Inputs, report: Report
) -> None:
    scale_from_zero_and_back(main, ledger, inputs, report, "backlog")


def test_keda_scales_a_step_from_zero_and_back(
    main: Installation, ledger: Ledger, inputs: Inputs, report: Report, keda: None
) -> None:
    scale_from_zero_and_back(main, ledger, inputs, report, "keda")


def scale_from_zero_and_back(main: Installation, ledger: Ledger, inputs: Inputs, report: Report, mode: str) -> None:
    name = {"backlog": "Backlog", "keda": "KEDA"}[mode]
    by_backlog = {
        "mode": mode,
        "minReplicas": 0,
        "maxReplicas": 3,
        "backlogSecondsPerReplica": 2,
        "pollingIntervalSeconds": 2,
        "cooldownSeconds": 5,
        "scaleDownStabilizationSeconds": 5,
    }
    main.release.upgrade({"steps": {STEP: {"autoscaling": by_backlog}}})
    wait_for("no pod", lambda: not main.namespace.pods(STEP), SCALED_SECS)
    began = time.monotonic()
    ledger.send(JobSpec(f"wave-{mode}", SLOW, inputs.copies(f"wave-{mode}", 100)))
    wait_for("a first pod", lambda: main.namespace.ready_pods(STEP), SCALED_SECS)
    report.note(f"{name}: job sent until a first blur pod is ready, s", seconds_since(began))
    wait_for("several pods", lambda: len(main.namespace.ready_pods(STEP)) > 1, SCALED_SECS)
    ledger.finish()
    began = time.monotonic()
    wait_for("no pod again", lambda: not main.namespace.pods(STEP), SCALED_SECS)
    report.note(f"{name}: end of the job until no blur pod, s", seconds_since(began))
