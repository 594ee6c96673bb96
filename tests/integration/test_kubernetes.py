"""Coordinator and worker talk to a real Kubernetes, as service accounts with only the rights they need."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from kube import Namespace, Pod, call, find_cluster

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings
from penstock.coordinator.autoscaler import DeploymentScale
from penstock.coordinator.scheduling.replicas import STEPS_ANNOTATION, Deployments, Replicas
from penstock.worker.process.pod_deletion_cost import OwnPod

NAMESPACE = "penstock-inside"
RESTRICTED = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "image": "none",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
UNSCHEDULABLE = {**RESTRICTED, "nodeSelector": {"nowhere": "true"}}
"""Spec of a pod that no node accepts."""


def pod(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": UNSCHEDULABLE}


def deployment(name: str, kind: str, steps: str, replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"kind": kind}, "annotations": {STEPS_ANNOTATION: steps}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": UNSCHEDULABLE},
        },
    }


OBJECTS = [
    pod("one"),
    deployment("blur", "step", "blur", 0),
    deployment("fused", "step", "blur,encode", 2),
    deployment("web", "other", "resize", 1),
]


@pytest.fixture(scope="module")
def namespace(without_service: Callable[[str], NoReturn]) -> Iterator[Namespace]:
    """A namespace with an unschedulable pod, three Deployments, and service accounts that may patch or list."""
    before = dict(os.environ)
    missing = find_cluster()
    if missing is not None:
        without_service(missing)
    created = Namespace(NAMESPACE)
    created.create()
    created.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": OBJECTS}))
    for account, verb, resource in ("steps", "patch", "pods"), ("coordinator", "list", "deployments.apps"):
        created.kubectl("create", "serviceaccount", account)
        created.kubectl("create", "role", account, f"--verb={verb}", f"--resource={resource}")
        created.kubectl(
            "create", "rolebinding", account, f"--role={account}", f"--serviceaccount={NAMESPACE}:{account}"
        )
    yield created
    created.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def settings_of(namespace: Namespace, tmp_path: Path) -> Callable[[str], KubernetesSettings]:
    """Return the settings of a pod that runs as a service account."""
    config = json.loads(call("kubectl", "config", "view", "--minify", "--flatten", "--raw", "--output=json"))
    cluster = config["clusters"][0]["cluster"]

    def make(account: str) -> KubernetesSettings:
        folder = tmp_path / account
        folder.mkdir()
        (folder / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        (folder / "token").write_text(namespace.kubectl("create", "token", account))
        (folder / "namespace").write_text(NAMESPACE)
        return KubernetesSettings(
            pod_name="one", pod_namespace=NAMESPACE, kubernetes_url=cluster["server"], kubernetes_account=folder
        )

    return make


def test_a_worker_sets_its_own_pods_deletion_cost(
    namespace: Namespace, settings_of: Callable[[str], KubernetesSettings]
) -> None:
    own = OwnPod(settings_of("steps"))
    for cost in (37, 0):
        own.write_cost(cost)
        assert Pod(namespace.get("pod", "one")).deletion_cost == cost


def test_a_worker_without_permission_gets_an_error_and_uses_a_rotated_token(
    namespace: Namespace, settings_of: Callable[[str], KubernetesSettings]
) -> None:
    settings = settings_of("coordinator")
    own = OwnPod(settings)
    with pytest.raises(UnavailableError, match="403 Forbidden, annotating pod one"):
        own.write_cost(1)
    (settings.kubernetes_account / "token").write_text("expired")
    with pytest.raises(UnavailableError, match="401 Unauthorized"):
        own.write_cost(1)
    (settings.kubernetes_account / "token").write_text(namespace.kubectl("create", "token", "steps"))
    own.write_cost(5)
    assert Pod(namespace.get("pod", "one")).deletion_cost == 5


def test_a_coordinator_reads_the_replicas_of_the_steps_only(
    namespace: Namespace, settings_of: Callable[[str], KubernetesSettings]
) -> None:
    deployments = Deployments(settings_of("coordinator").model_copy(update={"pod_namespace": None}), "kind=step")
    both = ("blur", "fused")
    assert deployments.read_replicas() == {
        "blur": Replicas(2, 0, both, NAMESPACE),
        "encode": Replicas(2, 0, both[1:], NAMESPACE),
    }
    namespace.kubectl("scale", "deployment/blur", "--replicas=3")
    assert deployments.read_replicas() == {
        "blur": Replicas(5, 0, both, NAMESPACE),
        "encode": Replicas(2, 0, both[1:], NAMESPACE),
    }


def test_a_coordinator_scales_the_deployments_that_its_role_names(
    namespace: Namespace, settings_of: Callable[[str], KubernetesSettings]
) -> None:
    namespace.kubectl("create", "serviceaccount", "scaler")
    rule = ("--verb=get,patch", "--resource=deployments.apps/scale", "--resource-name=fused")
    namespace.kubectl("create", "role", "scaler", *rule)
    namespace.kubectl("create", "rolebinding", "scaler", "--role=scaler", f"--serviceaccount={NAMESPACE}:scaler")
    scale = DeploymentScale(settings_of("scaler"))
    before = scale.read("fused")
    scale.write("fused", before + 3)
    assert namespace.get("deployment", "fused")["spec"]["replicas"] == scale.read("fused") == before + 3
    scale.write("fused", 0)
    assert scale.read("fused") == 0
    scale.write("fused", before)
    with pytest.raises(UnavailableError, match="403 Forbidden, writing the scale of Deployment web"):
        scale.write("web", 2)


def test_a_coordinator_without_permission_gets_an_error(settings_of: Callable[[str], KubernetesSettings]) -> None:
    with pytest.raises(UnavailableError, match="403 Forbidden, listing Deployments"):
        Deployments(settings_of("steps"), "kind=step").read_replicas()
