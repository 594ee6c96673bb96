"""Kubernetes: reads the replicas of the steps' Deployments.

`CustomObjectsApi` lists objects of any kind as plain JSON; the typed API for Deployments would load hundreds of models,
and cost 43 MB of memory instead of 26.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.common.kubernetes import TIMEOUT_SECS, KubernetesClient
from penstock.common.settings import KubernetesSettings
from penstock.coordinator.scheduling.replicas import Replicas

STEPS_ANNOTATION = "penstock.dev/steps"
"""Annotation of the workers' Deployments: their steps, separated by commas."""
_FROM_CACHE = "0"
"""Resource version that lets the API server answer from its cache."""


class Deployments:
    """The Deployments that a label selector matches in one namespace. Not thread-safe."""

    def __init__(self, settings: KubernetesSettings, selector: str) -> None:
        self._settings = settings
        self._selector = selector
        self._client = KubernetesClient(settings)

    def read_replicas(self) -> Mapping[str, Replicas]:
        """Return the replicas of every step that these Deployments serve.

        Raises:
            UnavailableError: Kubernetes is unreachable or refuses the request.
        """
        return sum_replicas(self._client.call("listing Deployments", self._list))

    def _list(self, client: Any) -> list[dict[str, Any]]:
        from kubernetes.client import CustomObjectsApi

        listed: Any = CustomObjectsApi(client).list_namespaced_custom_object(
            "apps",
            "v1",
            self._namespace(),
            "deployments",
            label_selector=self._selector,
            resource_version=_FROM_CACHE,
            _request_timeout=TIMEOUT_SECS,
        )
        items: list[dict[str, Any]] = listed["items"]
        return items

    def _namespace(self) -> str:
        return self._settings.pod_namespace or (self._settings.kubernetes_account / "namespace").read_text().strip()


def sum_replicas(deployments: Iterable[Mapping[str, Any]]) -> dict[str, Replicas]:
    """Return the replicas by step, summed over the Deployments that serve it."""
    found: dict[str, Replicas] = {}
    for deployment in deployments:
        metadata = deployment["metadata"]
        annotations = metadata.get("annotations") or {}
        desired = deployment["spec"].get("replicas", 1)
        ready = deployment.get("status", {}).get("readyReplicas", 0)
        for step in filter(None, map(str.strip, annotations.get(STEPS_ANNOTATION, "").split(","))):
            total = found.get(step, Replicas(0, 0))
            names = (*total.deployments, metadata["name"])
            found[step] = Replicas(total.desired + desired, total.ready + ready, names, metadata.get("namespace", ""))
    return found
