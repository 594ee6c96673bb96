"""Uninstalling: only the announced claims remain."""

from __future__ import annotations

import re

from installation import Installation
from kube import Namespace, call, wait_for

EVERY_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
NOTHING_MADE = ("events", "events.events.k8s.io", "pods.metrics.k8s.io")
"""Kinds that describe other objects."""


def test_uninstalling_leaves_only_the_claims_that_it_announces(main: Installation) -> None:
    said = main.release.uninstall()
    kept = {f"persistentvolumeclaim/{name}" for name in re.findall(r"\[PersistentVolumeClaim\] (\S+)", said)}
    assert kept == {f"persistentvolumeclaim/{main.release.name}-{name}" for name in ("coordinator", "web")}
    wait_for("nothing but these", lambda: left_behind(main.namespace) == kept)
    wide = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    assert main.namespace.name not in call("kubectl", "get", wide, "--output", "name")


def left_behind(namespace: Namespace) -> set[str]:
    """Return the objects of a namespace, except those that Kubernetes creates."""
    kinds = call("kubectl", "api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    return {*namespace.names(",".join(kind for kind in kinds if kind not in NOTHING_MADE))} - EVERY_NAMESPACE
