"""Replicas of a step are set by exactly one of values or kubectl, HPA, and KEDA."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rendering import Chart

from penstock.common.settings import KubernetesSettings

STEPS = ("resize", "split", "blur", "encode")
MASTERS = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}


def scaled(mode: str, **more: Any) -> dict[str, Any]:
    return {"stepDefaults": {"autoscaling": {"mode": mode, **more}}}


@pytest.mark.parametrize("placement", ["perStep", "fused"])
@pytest.mark.parametrize("mode", ["none", "hpa", "backlog", "keda"])
def test_every_step_has_one_autoscaler_or_none(chart: Chart, mode: str, placement: str) -> None:
    rendered = chart.render({**scaled(mode), "placement": placement})
    workers = {name: each for name, each in rendered.all("Deployment").items() if is_worker(each)}
    assert workers
    for name, deployment in workers.items():
        masters = [kind for kind in MASTERS.values() if name in rendered.all(kind)]
        assert masters == ([MASTERS[mode]] if mode in MASTERS else []), name
        assert "replicas" not in deployment["spec"], f"{name} would conflict with kubectl scale at a rollback"


def is_worker(deployment: dict[str, Any]) -> bool:
    return "penstock.dev/step" in deployment["metadata"]["labels"]


def test_without_autoscaling_values_may_set_the_replicas(chart: Chart) -> None:
    rendered = chart.render({**scaled("none"), "steps": {"blur": {"replicas": 0}, "split": {"replicas": 7}}})
    assert "replicas" not in rendered.find("Deployment", "penstock-resize")["spec"]
    for step, replicas in {"blur": 0, "split": 7}.items():
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
    defaults = scaled("keda", minReplicas=0, backlogSecondsPerReplica=2.5)
    defaults["stepDefaults"]["concurrency"] = 2
    rendered = chart.render({**defaults, "placement": "fused"})
    spec = rendered.find("ScaledObject", "penstock-fused")["spec"]
    [trigger] = spec["triggers"]
    assert spec["minReplicaCount"] == 0
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"]["url"] == (
        "http://penstock-coordinator.pictures:8080/v1/backlog?steps=resize,split,blur,encode&seconds_per_worker=1.25"
    )
    assert trigger["metadata"]["valueLocation"] == "wanted_workers"
    assert trigger["metadata"]["targetValue"] == "2", "the workers of a replica"
    annotations = rendered.find("Deployment", "penstock-fused")["metadata"]["annotations"]
    assert annotations["penstock.dev/max-replicas"] == "10"
    assert annotations["penstock.dev/concurrency"] == "2"


def test_the_coordinator_may_scale_those_deployments_alone_whose_backlog_it_follows(chart: Chart) -> None:
    by_backlog = {"mode": "backlog", "minReplicas": 0, "maxReplicas": 4, "backlogSecondsPerReplica": 2.5}
    rendered = chart.render({"steps": {"blur": {"autoscaling": by_backlog}}})
    rules = json.loads(rendered.environment("penstock-coordinator")["PENSTOCK_AUTOSCALE"])
    assert rules == {
        "penstock-blur": {
            "steps": ["blur"],
            "min_replicas": 0,
            "max_replicas": 4,
            "secs_per_replica": 2.5,
            "scale_down_secs": 300,
            "workers_per_replica": 1,
        }
    }
    assert KubernetesSettings(autoscale=rules).autoscale["penstock-blur"].max_replicas == 4
    scale = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]}
    role = rendered.find("Role", "penstock-coordinator")["rules"]
    assert {**scale, "resourceNames": ["penstock-blur"]} in role
    assert [rule for rule in role if "patch" in rule["verbs"]] == [{**scale, "resourceNames": ["penstock-blur"]}]
    unreported = chart.render(
        {"coordinator": {"reportReplicas": False}, "steps": {"blur": {"autoscaling": {"mode": "backlog"}}}}
    )
    assert unreported.find("Role", "penstock-coordinator")["rules"] == [{**scale, "resourceNames": ["penstock-blur"]}]
    spec = unreported.find("Deployment", "penstock-coordinator")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is True
    assert "PENSTOCK_AUTOSCALE" not in chart.render().environment("penstock-coordinator")
    assert "scale" not in str(chart.render().find("Role", "penstock-coordinator"))


def test_one_step_may_use_another_kind_of_autoscaling(chart: Chart) -> None:
    rendered = chart.render({"steps": {"blur": {"autoscaling": {"mode": "keda"}}}})
    assert set(rendered.all("ScaledObject")) == {"penstock-blur"}
    assert set(rendered.all("HorizontalPodAutoscaler")) == {"penstock-resize", "penstock-split", "penstock-encode"}
