"""Replicas: summed by step over its Deployments, polled in the background, and kept for a while."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from coordinator_fixture import ManualClock
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings
from penstock.coordinator.scheduling.replicas import (
    CONCURRENCY_ANNOTATION,
    MAX_REPLICAS_ANNOTATION,
    STEPS_ANNOTATION,
    Deployments,
    Replicas,
    ReplicaWatch,
    sum_replicas,
)


def deployment(steps: str | None, desired: int | None, ready: int | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": f"workers-of-{steps}"}
    if steps is not None:
        metadata["annotations"] = {STEPS_ANNOTATION: steps}
    spec = {} if desired is None else {"replicas": desired}
    return {"metadata": metadata, "spec": spec, "status": {} if ready is None else {"readyReplicas": ready}}


def test_replicas_are_summed_by_step() -> None:
    found = sum_replicas(
        [
            deployment("resize, split", 2, 1),
            deployment("blur", 0, None),
            deployment("split", None, 3),
            deployment(None, 9, 9),
            deployment("", 9, 9),
        ]
    )
    both = ("workers-of-resize, split", "workers-of-split")
    assert found == {
        "resize": Replicas(2, 1, both[:1]),
        "split": Replicas(3, 4, both),
        "blur": Replicas(0, 0, ("workers-of-blur",)),
    }


class FakeCluster:
    """Replicas whose `ready` counts the reads, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reads = 0
        self.error = error

    def read(self) -> dict[str, Replicas]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return {"blur": Replicas(4, self.reads)}


def test_replicas_read_last_count_for_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    cluster = FakeCluster()
    watch = ReplicaWatch(cluster.read, clock=clock)
    assert watch.find("blur") is None
    watch.poll_once()
    assert (watch.find("blur"), watch.find("resize")) == (Replicas(4, 1), None)
    cluster.error = UnavailableError("Kubernetes", "403 Forbidden")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            clock.advance(19.0)
            watch.poll_once()
            assert watch.find("blur") == Replicas(4, 1)
        clock.advance(19.0)
        assert watch.find("blur") is None
        cluster.error = None
        watch.poll_once()
    assert watch.find("blur") == Replicas(4, 5)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_polling_continues_after_unexpected_errors() -> None:
    cluster = FakeCluster(RuntimeError("unexpected"))
    watch = ReplicaWatch(cluster.read, poll_secs=0.01)
    watch.start()
    wait_until(lambda: cluster.reads >= 2)
    cluster.error = None
    wait_until(lambda: watch.find("blur") is not None)
    watch.stop()


def test_a_missing_service_account_counts_as_unreachable(tmp_path: Path) -> None:
    settings = KubernetesSettings(kubernetes_url="https://127.0.0.1:1", kubernetes_account=tmp_path, pod_namespace="n")
    with pytest.raises(UnavailableError, match="no answer from https://127"):
        Deployments(settings, "app=x").read_replicas()


def test_the_kubernetes_package_is_imported_only_where_it_is_used() -> None:
    program = "import sys, penstock.coordinator.main; print('kubernetes' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "False\n"


def test_the_most_workers_of_an_autoscaler_are_read_from_annotations() -> None:
    scaled, fixed = deployment("blur", 1, 1), deployment("split", 1, 1)
    scaled["metadata"]["annotations"] |= {MAX_REPLICAS_ANNOTATION: "5", CONCURRENCY_ANNOTATION: "2"}
    found = sum_replicas([scaled, scaled, fixed])
    assert (found["blur"].max_workers, found["blur"].workers_each) == (20, 2)
    assert (found["split"].max_workers, found["split"].workers_each) == (None, 1)
