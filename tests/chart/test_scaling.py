"""Replicas of a step are set by exactly one of values or kubectl, HPA, and KEDA."""

from __future__ import annotations

from typing import Any

import pytest
from rendering import Chart

STEPS = ("resize", "split", "blur", "encode")
MASTERS = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}


def scaled(mode: str, **more: Any) -> dict[str, Any]:
    return {"stepDefaults": {"autoscaling": {"mode": mode, **more}}}


@pytest.mark.parametrize("placement", ["perStep", "fused"])
@pytest.mark.parametrize("mode", ["none", "hpa", "keda"])
def test_every_step_has_exactly_one_autoscaler_or_a_replica_count(chart: Chart, mode: str, placement: str) -> None:
    rendered = chart.render({**scaled(mode), "placement": placement})
    workers = {name: each for name, each in rendered.all("Deployment").items() if is_worker(each)}
    assert workers
    for name, deployment in workers.items():
        masters = [kind for kind in MASTERS.values() if name in rendered.all(kind)]
        masters += ["values"] if "replicas" in deployment["spec"] else []
        assert masters == [MASTERS.get(mode, "values")], name


def is_worker(deployment: dict[str, Any]) -> bool:
    return "penstock.dev/step" in deployment["metadata"]["labels"]


def test_without_autoscaling_values_set_the_replicas(chart: Chart) -> None:
    rendered = chart.render({**scaled("none"), "steps": {"blur": {"replicas": 0}, "split": {"replicas": 7}}})
    for step, replicas in {"blur": 0, "split": 7, "resize": 1}.items():
        deployment = rendered.find("Deployment", f"penstock-{step}")
        assert deployment["spec"]["replicas"] == replicas
        assert deployment["metadata"]["annotations"]["penstock.dev/replicas"] == str(replicas)


def test_with_cpu_autoscaling_a_step_scales_up_at_once_and_down_slowly(chart: Chart) -> None:
    values = scaled("hpa", scaleDownStabilizationSeconds=120, maxReplicas=33)
    spec = chart.render(values).find("HorizontalPodAutoscaler", "penstock-blur")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "penstock-blur"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 33)
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 120
    assert (
        chart.render().find("HorizontalPodAutoscaler", "penstock-blur")["spec"]["behavior"]["scaleDown"][
            "stabilizationWindowSeconds"
        ]
        == 300
    )


def test_keda_queries_the_coordinator_for_the_steps_of_the_deployment(chart: Chart) -> None:
    rendered = chart.render({**scaled("keda", minReplicas=0, backlogSecondsPerReplica=2.5), "placement": "fused"})
    spec = rendered.find("ScaledObject", "penstock-fused")["spec"]
    [trigger] = spec["triggers"]
    assert spec["minReplicaCount"] == 0
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"]["url"] == (
        "http://penstock-coordinator.pictures:8080/v1/backlog?steps=resize,split,blur,encode"
    )
    assert trigger["metadata"]["valueLocation"] == "backlog_seconds"
    assert trigger["metadata"]["targetValue"] == "2.5"


def test_one_step_may_use_another_kind_of_autoscaling(chart: Chart) -> None:
    rendered = chart.render({"steps": {"blur": {"autoscaling": {"mode": "keda"}}}})
    assert set(rendered.all("ScaledObject")) == {"penstock-blur"}
    assert set(rendered.all("HorizontalPodAutoscaler")) == {"penstock-resize", "penstock-split", "penstock-encode"}
