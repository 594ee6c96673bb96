"""Pods: what all of them have, and what values change."""

from __future__ import annotations

from typing import Any

import pytest
from rendering import Chart, RefusedError

COMPONENTS = ("coordinator", "web", "rabbitmq")
NAMES = ("penstock-coordinator", "penstock-web", "penstock-rabbitmq", "penstock-blur")


def everywhere(**values: Any) -> dict[str, Any]:
    """Return values for each component and for all steps."""
    return dict.fromkeys((*COMPONENTS, "stepDefaults"), values)


def pods(chart: Chart, values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    return dict(chart.render(values).pods())


def test_temporary_folders_have_a_size_and_disk_space_is_requested(chart: Chart) -> None:
    for name, spec in pods(chart).items():
        folders = [volume for volume in spec["volumes"] if "emptyDir" in volume] if "volumes" in spec else []
        assert all(folder["emptyDir"].get("sizeLimit") for folder in folders), name
        if name in NAMES:
            assert spec["containers"][0]["resources"]["requests"]["ephemeral-storage"] == "64Mi"
            assert "tmp" in [folder["name"] for folder in folders]
    unlimited = pods(chart, everywhere(tmpSize=""))["penstock-blur"]
    assert {"name": "tmp", "emptyDir": {}} in unlimited["volumes"]
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "9Gi"}} in pods(chart, everywhere(tmpSize="9Gi"))["penstock-web"][
        "volumes"
    ]


def test_a_step_is_ready_while_it_reaches_its_broker(chart: Chart) -> None:
    probe = pods(chart)["penstock-blur"]["containers"][0]["readinessProbe"]
    assert probe["exec"]["command"] == ["penstock", "worker", "--ready"]


def test_pods_of_an_unreachable_node_are_replaced_when_values_say(chart: Chart) -> None:
    assert "tolerations" not in pods(chart)["penstock-coordinator"]
    given = pods(chart, everywhere(unreachableSeconds=20, tolerations=[{"key": "spot", "operator": "Exists"}]))
    for name in NAMES:
        first, *others = given[name]["tolerations"]
        assert first == {"key": "spot", "operator": "Exists"}
        assert {(each["key"], each["tolerationSeconds"]) for each in others} == {
            ("node.kubernetes.io/not-ready", 20),
            ("node.kubernetes.io/unreachable", 20),
        }


def test_the_cluster_may_choose_user_ids(chart: Chart) -> None:
    fixed = pods(chart)["penstock-blur"]["securityContext"]
    assert (fixed["runAsUser"], fixed["runAsGroup"], fixed["fsGroup"]) == (10001, 10001, 10001)
    for name, spec in pods(chart, {"fixedUserIds": False}).items():
        context = spec["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context), name
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})


def test_security_contexts_can_be_overridden(chart: Chart) -> None:
    values = everywhere(
        podSecurityContext={"runAsUser": 1234, "supplementalGroups": [5]},
        containerSecurityContext={"readOnlyRootFilesystem": False},
    )
    for name, spec in pods(chart, values).items():
        if name in NAMES:
            assert spec["securityContext"]["runAsUser"] == 1234
            assert spec["securityContext"]["supplementalGroups"] == [5]
            context = spec["containers"][0]["securityContext"]
            assert context["readOnlyRootFilesystem"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_pods_may_have_more_containers(chart: Chart) -> None:
    first, more = {"name": "wait", "image": "a/wait:1"}, {"name": "proxy", "image": "a/proxy:1"}
    given = pods(chart, everywhere(initContainers=[first], extraContainers=[more]))
    for name in NAMES:
        assert given[name]["initContainers"] == [first]
        assert given[name]["containers"][1:] == [more]
    with pytest.raises(RefusedError, match="extraContainers"):
        chart.render({"coordinator": {"extraContainers": [{"name": "proxy"}]}})


def test_all_objects_and_pods_have_the_common_labels(chart: Chart) -> None:
    rendered = chart.render({"commonLabels": {"team": "pictures"}, "coordinator": {"podLabels": {"team": "jobs"}}})
    for each in rendered.objects:
        if each["kind"] == "Pod":
            continue  # the test's
        assert each["metadata"]["labels"]["team"] == "pictures", each["metadata"]["name"]
        template = each["spec"].get("template") if isinstance(each.get("spec"), dict) else None
        if template and "labels" in template.get("metadata", {}):
            expected = "jobs" if each["metadata"]["name"] == "penstock-coordinator" else "pictures"
            assert template["metadata"]["labels"]["team"] == expected
            assert "team" not in each["spec"]["selector"]["matchLabels"]


def test_old_replica_sets_are_kept_as_values_say(chart: Chart) -> None:
    rendered = chart.render({"revisionHistoryLimit": 2})
    workloads = {**rendered.all("Deployment"), **rendered.all("StatefulSet")}
    assert {each["spec"]["revisionHistoryLimit"] for each in workloads.values()} == {2}


def test_images_are_pinned_by_digest(chart: Chart) -> None:
    digest = f"sha256:{64 * 'a'}"
    given = pods(chart, {"image": {"registry": "r.example/p", "tag": "9", "digests": {"blur": digest}}})
    assert given["penstock-blur"]["containers"][0]["image"] == f"r.example/p/penstock-blur:9@{digest}"
    assert given["penstock-split"]["containers"][0]["image"] == "r.example/p/penstock-split:9"
    with pytest.raises(RefusedError, match="digests/blur"):
        chart.render({"image": {"digests": {"blur": "sha256:short"}}})


def test_memory_is_requested_for_usual_images_and_limited_for_the_largest(chart: Chart) -> None:
    def memory(values: dict[str, Any]) -> tuple[str, str]:
        resources = pods(chart, values)["penstock-blur"]["containers"][0]["resources"]
        return resources["requests"]["memory"], resources["limits"]["memory"]

    assert memory({"steps": {"blur": {"resources": {"limits": {"memory": "4Gi"}}}}}) == ("512Mi", "4Gi")
    assert memory({"steps": {"blur": {"concurrency": 3, "resources": {"limits": {"memory": "9Gi"}}}}})[0] == "1536Mi"
    assert memory({"steps": {"blur": {"resources": {"limits": {"memory": "300Mi"}}}}}) == ("300Mi", "300Mi")


def test_metrics_are_scraped_by_service_monitors_as_well(chart: Chart) -> None:
    rendered = chart.render({"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    assert set(rendered.all("ServiceMonitor")) == {"penstock-coordinator", "penstock-rabbitmq"}
    for name, monitor in rendered.all("ServiceMonitor").items():
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        service = rendered.find("Service", name)
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert rendered.find("ConfigMap", "penstock-rabbitmq")["data"]["enabled_plugins"] == "[rabbitmq_prometheus].\n"


def test_keda_has_a_fallback_if_values_name_one(chart: Chart) -> None:
    def scaled(**more: Any) -> dict[str, Any]:
        values = {"steps": {"blur": {"autoscaling": {"mode": "keda", **more}}}}
        spec: dict[str, Any] = chart.render(values).find("ScaledObject", "penstock-blur")["spec"]
        return spec

    assert "fallback" not in scaled()
    assert scaled(fallbackReplicas=3)["fallback"] == {"failureThreshold": 3, "replicas": 3}
    with pytest.raises(RefusedError, match="fallbackReplicas is 3: it is used only with mode keda"):
        chart.render({"steps": {"blur": {"autoscaling": {"fallbackReplicas": 3}}}})


def test_no_pod_may_reach_the_api_server_at_any_address(chart: Chart) -> None:
    for policy in chart.render({"deletionCost": {"enabled": True}}).all("NetworkPolicy").values():
        for rule in policy["spec"].get("egress", ()):
            if {443, 6443} & {port["port"] for port in rule["ports"]}:
                assert rule["to"], f"{policy['metadata']['name']}: {rule}"
                blocks = [peer["ipBlock"] for peer in rule["to"]]
                assert all(block["cidr"] not in ("0.0.0.0/0", "::/0") or block["except"] for block in blocks)
