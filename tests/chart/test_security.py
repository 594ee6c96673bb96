"""Pod security, permissions and network policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rendering import CHART, VALUES, Chart, Rendered

EVERY = [CHART / "values.yaml", CHART / "ci" / "local-values.yaml", *VALUES]
every_installation = pytest.mark.parametrize("values", EVERY, ids=lambda path: path.stem)


@every_installation
def test_every_pod_passes_pod_security_restricted(chart: Chart, values: Path) -> None:
    pods = list(chart.render(values).pods())
    assert len(pods) >= 3
    for name, spec in pods:
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert not any("hostPath" in volume for volume in spec.get("volumes", ())), name
        assert "initContainers" not in spec, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@every_installation
def test_no_image_is_latest_and_every_container_has_a_memory_limit(chart: Chart, values: Path) -> None:
    for name, spec in chart.render(values).pods():
        for container in spec["containers"]:
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            assert tag not in ("", "latest"), name
            assert container["resources"]["limits"]["memory"], name


@every_installation
def test_service_links_that_look_like_settings_are_disabled(chart: Chart, values: Path) -> None:
    assert all(spec["enableServiceLinks"] is False for _, spec in chart.render(values).pods())


DELETION_COST = {"deletionCost": {"enabled": True}}


def tokens(rendered: Rendered) -> set[str]:
    return {name for name, spec in rendered.pods() if spec["automountServiceAccountToken"]}


def test_only_pods_that_use_the_kubernetes_api_mount_a_token(chart: Chart) -> None:
    steps = {f"penstock-{step}" for step in ("resize", "split", "blur", "encode")}
    assert tokens(chart.render()) == {"penstock-coordinator"}
    assert tokens(chart.render(DELETION_COST)) == {"penstock-coordinator", *steps}
    assert tokens(chart.render({"coordinator": {"reportReplicas": False}})) == set()


def test_the_coordinator_may_only_read_deployments_and_steps_may_only_patch_pods(chart: Chart) -> None:
    roles = {name: role["rules"] for name, role in chart.render(DELETION_COST).all("Role").items()}
    assert roles == {
        "penstock-coordinator": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]}],
        "penstock-steps": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}],
    }


def test_without_deletion_cost_steps_have_no_rights_and_no_object_is_cluster_wide(chart: Chart) -> None:
    rendered = chart.render()
    assert set(rendered.all("Role")) == set(rendered.all("RoleBinding")) == {"penstock-coordinator"}
    assert not rendered.all("ValidatingAdmissionPolicy")
    assert "PENSTOCK_DELETION_COST" not in rendered.environment("penstock-blur")
    assert chart.render(DELETION_COST).environment("penstock-blur")["PENSTOCK_DELETION_COST"] == "true"


def test_cluster_wide_objects_are_named_by_the_namespace_and_apply_to_the_steps_account(chart: Chart) -> None:
    rendered = chart.render(DELETION_COST)
    [(name, policy)] = rendered.all("ValidatingAdmissionPolicy").items()
    assert name == "pictures-penstock-deletion-cost"
    [condition] = policy["spec"]["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:pictures:penstock-steps'"
    assert rendered.find("ValidatingAdmissionPolicyBinding", name)["spec"]["policyName"] == name


def test_every_pod_has_a_network_policy_that_denies_by_default(chart: Chart) -> None:
    rendered = chart.render()
    default = rendered.find("NetworkPolicy", "penstock-default-deny")["spec"]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default
    for deployment in rendered.all("Deployment").values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert default["podSelector"]["matchLabels"].items() <= labels.items()


def ports(rules: list[dict[str, Any]]) -> list[list[int]]:
    return [[port["port"] for port in rule["ports"]] for rule in rules]


def test_steps_reach_only_broker_store_and_api_server(chart: Chart) -> None:
    egress = chart.render(DELETION_COST).find("NetworkPolicy", "penstock-steps")["spec"]["egress"]
    assert ports(egress) == [[5672], [8081], [443, 6443]]
    assert [rule.get("to", [{}])[0].get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
            for rule in egress] == ["rabbitmq", "web", None]  # fmt: skip
    without = chart.render().find("NetworkPolicy", "penstock-steps")
    assert ports(without["spec"]["egress"]) == [[5672], [8081]]


def test_allowed_buckets_are_reachable_with_the_bundled_store(chart: Chart) -> None:
    values = {"store": {"sources": ["gs://photos/"]}}
    rendered = chart.render({**values, "coordinator": {"reportReplicas": False}, "webhooks": {"enabled": False}})
    for name in ("penstock-steps", "penstock-coordinator"):
        egress = rendered.find("NetworkPolicy", name)["spec"]["egress"]
        assert ports(egress) == [[5672], [8081], [443], [80, 987, 988]], "broker, store, buckets, GKE's identities"


def test_the_api_servers_addresses_can_be_set(chart: Chart) -> None:
    rendered = chart.render({**DELETION_COST, "networkPolicy": {"apiServerCidrs": ["172.16.0.0/28", "fd00::1/128"]}})
    for name in ("penstock-steps", "penstock-coordinator"):
        *_, rule = rendered.find("NetworkPolicy", name)["spec"]["egress"]
        assert ports([rule]) == [[443, 6443]]
        assert [peer["ipBlock"]["cidr"] for peer in rule["to"]] == ["172.16.0.0/28", "fd00::1/128"]


def test_the_stores_port_is_open_to_the_release_and_the_web_port_to_all(chart: Chart) -> None:
    front, store = chart.render().find("NetworkPolicy", "penstock-web")["spec"]["ingress"]
    assert ports([front, store]) == [[8080], [8081]]
    assert "from" not in front
    assert all(peer["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "penstock" for peer in store["from"])


def test_keda_may_query_the_coordinator(chart: Chart) -> None:
    policy = chart.render({"networkPolicy": {"kedaNamespace": "scalers"}}).find("NetworkPolicy", "penstock-coordinator")
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "scalers"}}} in policy["spec"][
        "ingress"
    ][0]["from"]


def test_only_development_mode_has_a_writable_root_and_reloads(chart: Chart) -> None:
    containers = [spec["containers"][0] for _, spec in chart.render({"development": True}).pods()]
    assert not any(container["securityContext"]["readOnlyRootFilesystem"] for container in containers)
    commands = {tuple(container["command"][2:]) for container in containers if "command" in container}
    assert commands >= {("penstock.local.reloading", "coordinator"), ("penstock.local.reloading", "worker")}
