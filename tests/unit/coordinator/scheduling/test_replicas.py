"""Replicas: counted by step over all Deployments that serve it, remembered for a while, asked for in the background."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings
from penstock.coordinator.scheduling import replicas
from penstock.coordinator.scheduling.kubernetes import STEPS_ANNOTATION, Deployments, count_replicas
from penstock.coordinator.scheduling.replicas import Replicas, ReplicaWatch


def deployment(steps: str | None, desired: int | None, ready: int | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": f"workers-of-{steps}"}
    if steps is not None:
        metadata["annotations"] = {STEPS_ANNOTATION: steps}
    spec = {} if desired is None else {"replicas": desired}
    return {"metadata": metadata, "spec": spec, "status": {} if ready is None else {"readyReplicas": ready}}


def test_replicas_are_counted_for_every_step_that_a_deployment_serves() -> None:
    found = count_replicas(
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


class Cluster:
    """Answers as a test likes."""

    def __init__(self) -> None:
        self.looks = 0
        self.trouble: Exception | None = None

    def look(self) -> dict[str, Replicas]:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        return {"blur": Replicas(4, self.looks)}


def test_what_was_seen_last_holds_for_a_while_and_then_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("penstock.coordinator.scheduling.replicas.time.monotonic", lambda: now[0])
    cluster = Cluster()
    watch = ReplicaWatch(cluster.look)
    assert watch.find("blur") is None
    watch.look_once()
    assert (watch.find("blur"), watch.find("resize")) == (Replicas(4, 1), None)
    cluster.trouble = UnavailableError("Kubernetes", "403 Forbidden")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            now[0] += 19.0
            watch.look_once()
            assert watch.find("blur") == Replicas(4, 1)
        now[0] += 19.0
        assert watch.find("blur") is None
        cluster.trouble = None
        watch.look_once()
    assert watch.find("blur") == Replicas(4, 5)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_it_looks_again_and_again_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "_LOOK_SECS", 0.01)
    cluster = Cluster()
    cluster.trouble = RuntimeError("nobody foresaw this")
    watch = ReplicaWatch(cluster.look)
    watch.start()
    wait_until(lambda: cluster.looks >= 2)
    cluster.trouble = None
    wait_until(lambda: watch.find("blur") is not None)
    watch.stop()


def test_no_service_account_and_no_server_are_the_same_to_a_coordinator(tmp_path: Path) -> None:
    settings = KubernetesSettings(kubernetes_url="https://127.0.0.1:1", kubernetes_account=tmp_path, pod_namespace="n")
    with pytest.raises(UnavailableError, match="no answer from https://127"):
        Deployments(settings, "app=x").look()


def test_kubernetes_client_is_loaded_only_where_it_is_needed() -> None:
    program = "import sys, penstock.coordinator.main; print('kubernetes' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "False\n"
