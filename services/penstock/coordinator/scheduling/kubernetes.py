"""Kubernetes: reads the replicas of the steps' Deployments.

The `kubernetes` package is imported on first use, in the background, because that takes half a second. Its
`CustomObjectsApi` lists objects of any kind as plain JSON; the typed API for Deployments would load hundreds of models,
and cost 43 MB of memory instead of 26.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings
from penstock.common.tls import make_ssl_context
from penstock.coordinator.scheduling.replicas import Replicas

STEPS_ANNOTATION = "penstock.dev/steps"
"""Annotation of the workers' Deployments: their steps, separated by commas."""
_TIMEOUT_SECS = (3.0, 5.0)
"""For connecting, and for each read."""
_FROM_CACHE = "0"
"""Resource version that lets the API server answer from its cache."""


class Deployments:
    """The Deployments that a label selector matches in one namespace. Not thread-safe."""

    def __init__(self, settings: KubernetesSettings, selector: str) -> None:
        self._settings = settings
        self._selector = selector
        self._api: Any = None

    def read_replicas(self) -> Mapping[str, Replicas]:
        """Return the replicas of every step that these Deployments serve.

        Raises:
            UnavailableError: Kubernetes is unreachable or refuses the request.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return sum_replicas(self._list())
        except ApiException as error:
            raise UnavailableError("Kubernetes", f"{error.status} {error.reason}, listing Deployments") from error
        except (HTTPError, OSError, ValueError) as error:
            self._api = None  # reconnect, because the certificate authority may have changed
            raise UnavailableError("Kubernetes", f"no answer from {self._settings.kubernetes_url}: {error}") from error

    def _list(self) -> list[dict[str, Any]]:
        if self._api is None:
            self._api = self._connect()
        token = (self._settings.kubernetes_account / "token").read_text().strip()  # rotated while the pod runs
        self._api.api_client.set_default_header("Authorization", f"Bearer {token}")
        listed = self._api.list_namespaced_custom_object(
            "apps",
            "v1",
            self._namespace(),
            "deployments",
            label_selector=self._selector,
            resource_version=_FROM_CACHE,
            _request_timeout=_TIMEOUT_SECS,
        )
        items: list[dict[str, Any]] = listed["items"]
        return items

    def _connect(self) -> Any:
        from kubernetes import client

        configuration = client.Configuration(host=self._settings.kubernetes_url)
        configuration.retries = False  # the next poll is the retry
        api = client.ApiClient(configuration)
        context = make_ssl_context(self._settings.kubernetes_account / "ca.crt")
        api.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
        return client.CustomObjectsApi(api)

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
