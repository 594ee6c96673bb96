"""Pod deletion cost: written when the pod becomes busy or idle, not often, and retried when it fails."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import pytest
from fake_clock import FakeClock

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings, SettingsError
from penstock.worker.liveness import BUSY, IDLE
from penstock.worker.process.pod_deletion_cost import (
    BUSY_COST,
    IDLE_COST,
    IDLE_SECS,
    MIN_WRITE_SECS,
    DeletionCost,
    OwnPod,
)


class PodFixture:
    """The liveness files of two processes, a clock, and the costs that are written."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / "alive-0", folder / "alive-1"]
        self.clock = FakeClock()
        self.written: list[tuple[float, int]] = []
        self.unreachable = False
        self.tries = 0
        self.cost = DeletionCost(self.files, self.write, self.clock)

    @property
    def costs(self) -> list[int]:
        return [cost for _, cost in self.written]

    def write(self, cost: int) -> None:
        self.tries += 1
        if self.unreachable:
            raise UnavailableError("Kubernetes", "no answer")
        self.written.append((self.clock.now, cost))

    def run(self, *states: str, secs: int) -> None:
        for file, state in zip(self.files, states, strict=False):
            file.write_text(state)
        for _ in range(secs):
            self.clock.now += 1
            self.cost.update()


@pytest.fixture
def pod(tmp_path: Path) -> PodFixture:
    return PodFixture(tmp_path)


def test_the_cost_is_written_when_the_pod_becomes_busy_or_idle(pod: PodFixture) -> None:
    pod.run(secs=100)
    assert pod.costs == [IDLE_COST], "no process has started"
    pod.run(BUSY, IDLE, secs=1)
    assert pod.costs == [IDLE_COST, BUSY_COST]
    pod.run(BUSY, BUSY, secs=600)
    assert len(pod.costs) == 2
    pod.run(IDLE, IDLE, secs=int(IDLE_SECS) - 1)
    assert len(pod.costs) == 2
    pod.run(IDLE, IDLE, secs=1)
    assert pod.costs == [IDLE_COST, BUSY_COST, IDLE_COST]


def test_the_cost_is_written_at_most_every_half_minute(pod: PodFixture) -> None:
    for _ in range(20):
        pod.run(BUSY, IDLE, secs=1)
        pod.run(IDLE, IDLE, secs=int(IDLE_SECS))
    moments = [moment for moment, _ in pod.written]
    assert len(moments) > 2
    assert all(after - before >= MIN_WRITE_SECS for before, after in pairwise(moments))


def test_a_failed_write_is_logged_once_and_retried_ever_less_often(
    pod: PodFixture, caplog: pytest.LogCaptureFixture
) -> None:
    pod.unreachable = True
    with caplog.at_level(logging.WARNING):
        pod.run(secs=3_000)
    assert len(caplog.records) == 1
    assert "no answer" in caplog.text
    assert 10 <= pod.tries <= 20, "every 200 to 300 s in the end"
    pod.unreachable = False
    pod.run(secs=301)
    assert pod.costs == [IDLE_COST]


def test_a_pod_without_name_or_namespace_is_refused() -> None:
    with pytest.raises(SettingsError, match="PENSTOCK_POD_NAME is not set"):
        OwnPod(KubernetesSettings(pod_namespace="n"))
    with pytest.raises(SettingsError, match="PENSTOCK_POD_NAMESPACE is not set"):
        OwnPod(KubernetesSettings(pod_name="p"))


def test_a_missing_service_account_counts_as_unreachable(tmp_path: Path) -> None:
    settings = KubernetesSettings(
        pod_name="p", pod_namespace="n", kubernetes_url="https://127.0.0.1:1", kubernetes_account=tmp_path
    )
    with pytest.raises(UnavailableError, match="No such file"):
        OwnPod(settings).write_cost(1)
