"""Alert rules: each fires in its situation and none on a healthy system, as simulated by promtool."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from prometheus_server import find_programs

ALERTS = Path(__file__).resolve().parents[3] / "charts" / "penstock" / "alerts" / "penstock.yaml"
RULES = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}

HEALTHY = {
    'penstock_leads{namespace="p", instance="a"}': "1x180",
    'penstock_leads{namespace="p", instance="b"}': "0x180",
    'penstock_dependency_up{namespace="p", dependency="broker"}': "1x180",
    'penstock_store_call_failures_total{namespace="p", side="worker", call="get"}': "0x180",
    'penstock_step_remaining{namespace="p", step="blur"}': "500x180",
    'penstock_step_workers{namespace="p", step="blur"}': "2x180",
    'penstock_step_backlog_seconds{namespace="p", step="blur"}': "3000x180",
    'penstock_step_ready{namespace="p", step="blur"}': "4x180",
    'penstock_step_chunks_total{namespace="p", step="blur"}': "0+10x180",
    'penstock_step_redelivered_chunks_total{namespace="p", step="blur"}': "0x180",
    'penstock_repaired_images_total{namespace="p"}': "0x180",
    'penstock_queue_ready{namespace="p", queue="events"}': "9x180",
    'penstock_queue_ready{namespace="p", queue="dead"}': "0x180",
    'penstock_images_total{namespace="p", outcome="done"}': "0+100x180",
    'penstock_images_total{namespace="p", outcome="cancelled"}': "0+100x180",
    'penstock_images_total{namespace="p", outcome="corrupt_image"}': "0+5x180",
    'penstock_data_free_bytes{namespace="p"}': "50x180",
    'penstock_data_size_bytes{namespace="p"}': "100x180",
    'penstock_room_free_bytes{namespace="p", dependency="store"}': "900x180",
    'penstock_room_reserve_bytes{namespace="p", dependency="store"}': "100x180",
    'penstock_step_waited_seconds_total{namespace="p", step="blur", dependency="store"}': "5x180",
    'rabbitmq_alarms_free_disk_space_watermark{namespace="p"}': "0x180",
    'rabbitmq_alarms_memory_used_watermark{namespace="p"}': "0x180",
}
"""Series of a healthy system, one value per minute for three hours."""

SITUATIONS: list[tuple[str, dict[str, str | None], dict[str, str]]] = [
    ("PenstockNobodyLeads", {"penstock_leads": "0x180"}, {"namespace": "p"}),
    ("PenstockNobodyLeads", {"penstock_leads": None}, {}),
    ("PenstockDependencyAway", {"penstock_dependency_up": "0x180"}, {"namespace": "p", "dependency": "broker"}),
    ("PenstockStoreAway", {"penstock_store_call_failures_total": "0+60x180"}, {"namespace": "p", "side": "worker"}),
    ("PenstockStepWithoutWorkers", {"penstock_step_workers": "0x180"}, {"namespace": "p", "step": "blur"}),
    ("PenstockStepHoldsBack", {"penstock_step_backlog_seconds": "4000x180"}, {"namespace": "p", "step": "blur"}),
    ("PenstockQueueStuck", {"penstock_step_chunks_total": "7x180"}, {"namespace": "p", "step": "blur"}),
    ("PenstockEventsPileUp", {'penstock_queue_ready{namespace="p", queue="events"}': "6000x180"}, {"namespace": "p"}),
    ("PenstockManyFailures", {'outcome="corrupt_image"': "0+50x180"}, {"namespace": "p"}),
    ("PenstockManyFailures", {'outcome="corrupt_image"': "0x50 900x130"}, {"namespace": "p"}),
    ("PenstockWorkersDie", {"penstock_step_redelivered_chunks_total": "0+2x180"}, {"namespace": "p", "step": "blur"}),
    ("PenstockImagesLost", {"penstock_repaired_images_total": "0+5x180"}, {"namespace": "p"}),
    ("PenstockDeadLetters", {'queue="dead"': "1x180"}, {"namespace": "p"}),
    ("PenstockDiskFillsUp", {"penstock_data_free_bytes": "5x180"}, {"namespace": "p"}),
    ("PenstockNearlyFull", {"penstock_room_free_bytes": "150x180"}, {"namespace": "p", "dependency": "store"}),
    ("PenstockFull", {"penstock_room_free_bytes": "99x180"}, {"namespace": "p", "dependency": "store"}),
    (
        "PenstockWorkersWait",
        {"penstock_step_waited_seconds_total": "0+60x180"},
        {"namespace": "p", "step": "blur", "dependency": "store"},
    ),
    ("PenstockBrokerBlocks", {"rabbitmq_alarms_memory_used_watermark": "1x180"}, {"namespace": "p"}),
]
"""Alert; new values of the series whose names contain the key, None if they are absent; labels of the alert."""


@pytest.fixture(scope="module")
def promtool(without_service: Callable[[str], NoReturn]) -> str:
    found = find_programs()
    if found is None:
        without_service("Prometheus is not installed (Debian: apt-get install prometheus)")
    return found[1]


def assert_firing(promtool: str, folder: Path, series: Mapping[str, str], firing: list[str]) -> None:
    """Check that after an hour exactly these alerts fire."""
    expected = [{"labels": labels, "value": 1} for labels in firing]
    query = {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "1h", "exp_samples": expected}
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [query],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    checked = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_alert_fires_on_a_healthy_system(promtool: str, tmp_path: Path) -> None:
    assert_firing(promtool, tmp_path, HEALTHY, [])


@pytest.mark.parametrize(("alert", "changes", "labels"), SITUATIONS)
def test_only_the_alert_for_a_situation_fires(
    alert: str, changes: dict[str, str | None], labels: dict[str, str], promtool: str, tmp_path: Path
) -> None:
    series: dict[str, str | None] = dict(HEALTHY)
    for part, values in changes.items():
        series.update({name: values for name in HEALTHY if part in name})
    named = {"alertname": alert, "alertstate": "firing", "severity": RULES[alert]["labels"]["severity"], **labels}
    shown = ", ".join(f'{name}="{value}"' for name, value in named.items())
    present = {name: values for name, values in series.items() if values is not None}
    assert_firing(promtool, tmp_path, present, [f"ALERTS{{{shown}}}"])


def test_every_alert_is_tested() -> None:
    assert {alert for alert, _, _ in SITUATIONS} == set(RULES)
