"""Steps: one template over a map, with a Deployment per step or one for all."""

from __future__ import annotations

import json
from typing import Any

import yaml
from rendering import CHART, Chart

SHARPEN: dict[str, Any] = {
    "image": "registry.example/sharpen:1.0",
    "program": ["/usr/local/bin/sharpen", "--quiet"],
    "params": {"type": "object", "properties": {"amount": {"type": "number"}}},
}


def pod(chart: Chart, values: dict[str, Any], name: str) -> dict[str, Any]:
    spec: dict[str, Any] = chart.render(values).find("Deployment", name)["spec"]["template"]["spec"]
    return spec


def test_each_step_is_a_deployment_with_its_image(chart: Chart) -> None:
    rendered = chart.render({"image": {"registry": "r.example/p", "tag": "9"}})
    for step in ("resize", "split", "blur", "encode"):
        deployment = rendered.find("Deployment", f"penstock-{step}")
        assert deployment["metadata"]["labels"]["penstock.dev/step"] == step
        assert deployment["metadata"]["annotations"]["penstock.dev/steps"] == step
        assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"r.example/p/penstock-{step}:9"
        assert rendered.environment(f"penstock-{step}")["PENSTOCK_STEPS"] == step
    assert "penstock-blur-gpu" not in rendered.all("Deployment")


def test_fused_placement_has_one_deployment_for_all_steps(chart: Chart) -> None:
    rendered = chart.render({"placement": "fused"})
    assert set(rendered.all("Deployment")) == {"penstock-coordinator", "penstock-web", "penstock-fused"}
    fused = rendered.find("Deployment", "penstock-fused")
    assert fused["metadata"]["annotations"]["penstock.dev/steps"] == "resize,split,blur,encode"
    assert rendered.environment("penstock-fused")["PENSTOCK_STEPS"] == "resize,split,blur,encode"
    assert "/penstock-step:" in fused["spec"]["template"]["spec"]["containers"][0]["image"]


def test_fused_placement_keeps_steps_with_an_image_or_gpu_separate(chart: Chart) -> None:
    rendered = chart.render({"placement": "fused", "steps": {"sharpen": SHARPEN, "split": {"gpu": {"count": 1}}}})
    assert rendered.environment("penstock-fused")["PENSTOCK_STEPS"] == "resize,blur,encode"
    assert rendered.environment("penstock-sharpen")["PENSTOCK_STEPS"] == "sharpen"
    assert rendered.environment("penstock-split")["PENSTOCK_STEPS"] == "split"


def test_a_custom_step_is_declared_to_the_coordinator_and_all_steps(chart: Chart) -> None:
    rendered = chart.render({"steps": {"sharpen": SHARPEN}})
    for deployment in ("penstock-coordinator", "penstock-sharpen", "penstock-blur"):
        declared = json.loads(rendered.environment(deployment)["PENSTOCK_DECLARED_STEPS"])
        assert declared == {"sharpen": {"params": SHARPEN["params"]}}
    assert json.loads(rendered.environment("penstock-sharpen")["PENSTOCK_PROGRAM"]) == SHARPEN["program"]
    assert "PENSTOCK_PROGRAM" not in rendered.environment("penstock-blur")
    assert "PENSTOCK_DECLARED_STEPS" not in chart.render().environment("penstock-coordinator")


def test_memory_follows_from_the_largest_image_that_is_accepted(chart: Chart) -> None:
    def memory(values: dict[str, Any]) -> tuple[str, str]:
        deployment = chart.render(values).find("Deployment", "penstock-blur")
        resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        return resources["requests"]["memory"], resources["limits"]["memory"]

    needed = (14 * 150_000_000 + 3 * 100_000_000 + 400_000_000) // 1024**2
    assert memory({}) == ("512Mi", f"{needed}Mi")
    assert memory({"steps": {"blur": {"concurrency": 2}}}) == ("1024Mi", "5340Mi")
    smaller = {"PENSTOCK_MAX_PIXELS": "10000000", "PENSTOCK_MAX_PIXELS_IN_FLIGHT": "20000000"}
    assert memory({"settings": smaller}) == ("512Mi", "572Mi")
    own = {"requests": {"memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    assert memory({"stepDefaults": {"resources": own}}) == ("64Mi", "1Gi")


def test_a_gpu_adds_limits_selector_and_tolerations(chart: Chart) -> None:
    step = {
        "enabled": True,
        "image": "registry.example/blur-gpu:1.0",
        "nodeSelector": {"cloud.google.com/gke-spot": "true"},
        "tolerations": [{"key": "cloud.google.com/gke-spot", "operator": "Exists"}],
        "gpu": {"count": 2, "accelerator": "nvidia-tesla-t4"},
    }
    rendered = chart.render({"steps": {"blur-gpu": step}})
    spec = rendered.find("Deployment", "penstock-blur-gpu")["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "2670Mi", "nvidia.com/gpu": 2}
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-spot": "true",
        "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
    }
    assert [each["key"] for each in spec["tolerations"]] == ["cloud.google.com/gke-spot", "nvidia.com/gpu"]
    rolls = rendered.find("Deployment", "penstock-blur-gpu")["spec"]["strategy"]["rollingUpdate"]
    assert rolls["maxSurge"] == 0, "an upgrade would wait for one GPU more than there are"
    assert "strategy" not in rendered.find("Deployment", "penstock-blur")["spec"]
    assert rendered.environment("penstock-blur-gpu")["PENSTOCK_STEPS"] == "blur"
    assert "nvidia.com/gpu" not in str(rendered.find("Deployment", "penstock-blur"))


def test_blur_on_a_gpu_has_an_image_of_penstocks(chart: Chart) -> None:
    image = {"registry": "r.example/p", "tag": "9"}
    rendered = chart.render({"image": image, "steps": {"blur-gpu": {"enabled": True, "autoscaling": {"mode": "none"}}}})
    (container,) = rendered.find("Deployment", "penstock-blur-gpu")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "r.example/p/penstock-blur-gpu:9"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_steps_values_override_the_defaults_for_that_step_only(chart: Chart) -> None:
    values = {
        "stepDefaults": {"concurrency": 2, "env": {"A": "all"}},
        "steps": {"blur": {"concurrency": 4, "env": {"B": "blur"}, "topologySpread": []}},
    }
    rendered = chart.render(values)
    blur, split = rendered.environment("penstock-blur"), rendered.environment("penstock-split")
    assert (blur["PENSTOCK_CONCURRENCY"], split["PENSTOCK_CONCURRENCY"]) == ("4", "2")
    assert (blur["A"], blur["B"]) == ("all", "blur")
    assert "B" not in split
    assert "topologySpreadConstraints" not in pod(chart, values, "penstock-blur")
    assert len(pod(chart, values, "penstock-split")["topologySpreadConstraints"]) == 2


def test_the_cluster_autoscaler_may_evict_workers_by_default(chart: Chart) -> None:
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    rendered = chart.render({"steps": {"blur": {"podAnnotations": {key: "false", "a": "b"}}}})

    def annotations(name: str) -> dict[str, str]:
        found: dict[str, str] = rendered.find("Deployment", name)["spec"]["template"]["metadata"]["annotations"]
        return found

    assert (annotations("penstock-blur")[key], annotations("penstock-blur")["a"]) == ("false", "b")
    assert annotations("penstock-split")[key] == "true"


def test_extra_fields_are_added_to_the_pod(chart: Chart) -> None:
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    step = {
        "extraEnv": [secret],
        "extraVolumes": [{"name": "models", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "models", "mountPath": "/models"}],
        "priorityClassName": "low",
    }
    spec = pod(chart, {"steps": {"blur": step}}, "penstock-blur")
    assert secret in spec["containers"][0]["env"]
    assert {"name": "models", "mountPath": "/models"} in spec["containers"][0]["volumeMounts"]
    assert {"name": "models", "emptyDir": {}} in spec["volumes"]
    assert spec["priorityClassName"] == "low"


def test_a_step_has_an_exec_probe_and_time_to_drain(chart: Chart) -> None:
    spec = pod(chart, {}, "penstock-blur")
    for probe in ("startupProbe", "livenessProbe"):
        assert spec["containers"][0][probe]["exec"]["command"] == ["penstock", "worker", "--alive"]
    assert spec["terminationGracePeriodSeconds"] > 14


def test_steps_without_workers_are_disabled_for_the_coordinator(chart: Chart) -> None:
    def disabled(values: dict[str, Any]) -> list[str]:
        text = chart.render(values).environment("penstock-coordinator").get("PENSTOCK_DISABLED_STEPS", "")
        return [step for step in text.split(",") if step]

    every = {step: {"enabled": True} for step in ("crop", "rotate", "tile", "adjust", "contact-sheet")}
    for placement in ("perStep", "fused"):
        assert disabled({"placement": placement}) == ["crop", "rotate", "tile", "adjust", "contact-sheet"]
        assert disabled({"placement": placement, "steps": every}) == []
    assert disabled({"steps": every | {"blur": {"enabled": False}}}) == ["blur"]
    assert (
        disabled({"steps": every | {"blur": {"enabled": False}, "blur-gpu": {"enabled": True, "image": "a/b:1"}}}) == []
    )
    assert disabled({"steps": every | {"sharpen": {**SHARPEN, "enabled": False}}}) == ["sharpen"]
    assert disabled({"steps": every | {"crop": None}}) == ["crop"]
    assert "PENSTOCK_DISABLED_STEPS" not in chart.render().environment("penstock-blur")


def test_an_enabled_step_is_like_the_others(chart: Chart) -> None:
    steps = {"crop": {"enabled": True}, "tile": {"enabled": True, "replicas": 2, "autoscaling": {"mode": "none"}}}
    rendered = chart.render({"steps": steps})
    assert rendered.environment("penstock-crop")["PENSTOCK_STEPS"] == "crop"
    assert rendered.find("Deployment", "penstock-tile")["spec"]["replicas"] == 2
    assert "penstock-rotate" not in rendered.all("Deployment")
    fused = chart.render({"placement": "fused", "steps": steps})
    assert fused.environment("penstock-fused")["PENSTOCK_STEPS"] == "resize,crop,tile,split,blur,encode"


def test_a_group_step_is_declared_as_one(chart: Chart) -> None:
    step = {"image": "my/poses:1", "params": {"type": "object"}, "group": True}
    declared = json.loads(
        chart.render({"steps": {"poses": step}}).environment("penstock-coordinator")["PENSTOCK_DECLARED_STEPS"]
    )
    assert declared == {"poses": {"params": {"type": "object"}, "group": True}}


def test_the_example_that_finds_faces_is_a_custom_step(chart: Chart) -> None:
    values = yaml.safe_load((CHART.parents[1] / "docs" / "examples" / "anonymize" / "values.yaml").read_text())
    rendered = chart.render(values)
    assert pod(chart, values, "penstock-faces")["containers"][0]["image"] == "my/faces:0.1.0"
    for deployment in ("penstock-coordinator", "penstock-blur", "penstock-faces"):
        declared = json.loads(rendered.environment(deployment)["PENSTOCK_DECLARED_STEPS"])
        assert declared["faces"]["params"] == values["steps"]["faces"]["params"]
