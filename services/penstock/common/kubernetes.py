"""Kubernetes: calls its API as the pod's service account.

The `kubernetes` package is imported on first use, because that takes half a second and 35 MB of memory.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings
from penstock.common.tls import make_ssl_context

TIMEOUT_SECS = (3.0, 5.0)
"""For connecting, and for each read."""

T = TypeVar("T")


class KubernetesClient:
    """A connection to the API server. Not thread-safe."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._client: Any = None

    @property
    def namespace(self) -> str:
        """The pod's own namespace. Raises OSError if it cannot be read."""
        settings = self._settings
        return settings.pod_namespace or (settings.kubernetes_account / "namespace").read_text().strip()

    def call(self, action: str, function: Callable[[Any], T]) -> T:
        """Return what `function` returns for an `ApiClient`. `action` says in an UnavailableError what was tried."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return function(self._connect())
        except ApiException as error:
            raise UnavailableError("Kubernetes", f"{error.status} {error.reason}, {action}") from error
        except (HTTPError, OSError, ValueError) as error:
            self._client = None  # reconnect, because the certificate authority may have changed
            raise UnavailableError("Kubernetes", f"no answer from {self._settings.kubernetes_url}: {error}") from error

    def _connect(self) -> Any:
        from kubernetes import client

        if self._client is None:
            configuration = client.Configuration(host=self._settings.kubernetes_url)
            configuration.retries = False  # callers poll
            self._client = client.ApiClient(configuration)
            context = make_ssl_context(self._settings.kubernetes_account / "ca.crt")
            self._client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
        token = (self._settings.kubernetes_account / "token").read_text().strip()  # rotated while the pod runs
        self._client.set_default_header("Authorization", f"Bearer {token}")
        return self._client
