"""The cost of a pod's end: how busy its processes were, written seldom, and never at the cost of work."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings, SettingsError
from penstock.worker.liveness import BUSY, IDLE
from penstock.worker.process import pod_deletion_cost as deletion_cost
from penstock.worker.process.pod_deletion_cost import DeletionCost, OwnPod


class Pod:
    """Two processes' files, and what is written of them."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / "alive-0", folder / "alive-1"]
        self.written: list[int] = []
        self.away = False
        self.cost = DeletionCost(self.files, self.write)

    def write(self, cost: int) -> None:
        if self.away:
            raise UnavailableError("Kubernetes", "no answer")
        self.written.append(cost)

    def look(self, *states: str, times: int = 1) -> None:
        for file, state in zip(self.files, states, strict=False):
            file.write_text(state)
        for _ in range(times):
            self.cost.look()


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_the_cost_is_the_share_of_half_a_minute_in_which_processes_were_busy(pod: Pod) -> None:
    assert pod.cost.cost == 0
    pod.look(times=30)
    assert pod.cost.cost == 0, "nobody has begun"
    pod.look(BUSY, IDLE, times=15)
    assert pod.cost.cost == 25
    pod.look(BUSY, BUSY, times=30)
    assert pod.cost.cost == 100
    pod.look(IDLE, IDLE, times=29)
    assert pod.cost.cost == 3
    pod.look(IDLE, IDLE)
    assert pod.cost.cost == 0


def test_only_what_changed_much_is_written(pod: Pod) -> None:
    pod.look(IDLE, IDLE, times=30)
    assert pod.cost.write_if_changed()
    assert not pod.cost.write_if_changed()
    pod.look(BUSY, IDLE)
    assert pod.cost.write_if_changed(), "no longer idle"
    pod.look(BUSY, IDLE, times=4)
    assert not pod.cost.write_if_changed()
    pod.look(BUSY, IDLE, times=3)
    assert pod.cost.write_if_changed()
    assert pod.written == [0, 2, 13]


def test_a_failure_is_told_once_and_tried_again(pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    pod.away = True
    with caplog.at_level(logging.WARNING):
        assert [pod.cost.write_if_changed() for _ in range(3)] == [True] * 3
    assert len(caplog.records) == 1
    assert "no answer" in caplog.text
    pod.away = False
    assert pod.cost.write_if_changed()
    assert pod.written == [0]


def test_pauses_grow_with_failures_up_to_a_bound() -> None:
    assert 10.0 <= deletion_cost._BACKOFF.delay_secs(0) <= 15.0
    assert 40.0 <= deletion_cost._BACKOFF.delay_secs(2) <= 60.0
    assert 200.0 <= deletion_cost._BACKOFF.delay_secs(50) <= 300.0


def test_a_pod_without_name_or_namespace_is_refused() -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_POD_NAME is not set"):
        OwnPod(KubernetesSettings(pod_namespace="n"))
    with pytest.raises(SettingsError, match="PENSTOCK_POD_NAMESPACE is not set"):
        OwnPod(KubernetesSettings(pod_name="p"))


def test_no_service_account_and_no_server_are_the_same_to_a_worker(tmp_path: Path) -> None:
    settings = KubernetesSettings(
        pod_name="p", pod_namespace="n", kubernetes_url="https://127.0.0.1:1", kubernetes_account=tmp_path
    )
    with pytest.raises(UnavailableError, match="FileNotFoundError"):
        OwnPod(settings).write_cost(1)
