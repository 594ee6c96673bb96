"""Replicas: how many each step has in Kubernetes, read in the background so that no request waits for it."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.common.kubernetes import TIMEOUT_SECS, KubernetesClient
from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings
from penstock.coordinator.scheduling.deadlines.start_times import StartTimes

log = logging.getLogger(__name__)

STEPS_ANNOTATION = "penstock.dev/steps"
"""Annotation of the workers' Deployments: their steps, separated by commas."""
MAX_REPLICAS_ANNOTATION = "penstock.dev/max-replicas"
"""Annotation with the most replicas that an autoscaler gives a Deployment; without one, nothing scales it."""
CONCURRENCY_ANNOTATION = "penstock.dev/concurrency"
"""Annotation with the workers of a replica."""
_FROM_CACHE = "0"
"""Resource version that lets the API server answer from its cache."""
_POLL_SECS = 3.0
_STALE_SECS = 60.0


@dataclass(frozen=True)
class Replicas:
    """Replicas of one step, desired and ready."""

    desired: int
    ready: int
    deployments: tuple[str, ...] = ()
    """Names of the Deployments that they belong to."""
    namespace: str = ""
    """Their namespace; empty if unknown."""
    max_workers: int | None = None
    """The most workers that an autoscaler starts; None without an autoscaler."""
    workers_each: int = 1
    """Workers of a replica."""
    start_secs: float | None = None
    """How long the slowest of the last replicas took to start; None before any was seen."""
    starting_secs: float = 0.0
    """For how long replicas have been starting."""


class ReplicaWatch:
    """One thread that polls. The last values are valid for a minute."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, Replicas]],
        *,
        poll_secs: float = _POLL_SECS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._poll_secs = poll_secs
        self._clock = clock
        self._replicas: Mapping[str, Replicas] = {}
        self._start_times = StartTimes(clock)
        self._read_at = -math.inf
        self._failed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting for a request in progress."""
        self._stopping.set()

    def find(self, step: str) -> Replicas | None:
        """Return a step's replicas; None if unknown."""
        found = self._replicas.get(step) if self._clock() - self._read_at < _STALE_SECS else None
        if found is None:
            return None
        times = self._start_times
        return replace(found, start_secs=times.secs(step), starting_secs=times.starting_secs(step))

    def poll_once(self) -> None:
        """Read now. Only the first of several failures is logged."""
        try:
            self._replicas, self._read_at = self._read(), self._clock()
            self._start_times.observe(self._replicas)
        except UnavailableError as error:
            if not self._failed:
                log.warning("replica counts unavailable: %s; retrying", error.message)
            self._failed = True
        else:
            if self._failed:
                log.info("replica counts available again")
            self._failed = False

    def _run(self) -> None:
        while True:
            try:
                self.poll_once()
            except Exception:
                log.exception("replica counts unavailable: unexpected error")
            if self._stopping.wait(self._poll_secs):
                return


class Deployments:
    """The Deployments that a label selector matches in one namespace. Not thread-safe.

    `CustomObjectsApi` lists objects of any kind as plain JSON; the typed API for Deployments would load hundreds of
    models, and cost 43 MB of memory instead of 26.
    """

    def __init__(self, settings: KubernetesSettings, selector: str) -> None:
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
            self._client.namespace,
            "deployments",
            label_selector=self._selector,
            resource_version=_FROM_CACHE,
            _request_timeout=TIMEOUT_SECS,
        )
        items: list[dict[str, Any]] = listed["items"]
        return items


def sum_replicas(deployments: Iterable[Mapping[str, Any]]) -> dict[str, Replicas]:
    """Return the replicas by step, summed over the Deployments that serve it."""
    found: dict[str, Replicas] = {}
    for deployment in deployments:
        metadata = deployment["metadata"]
        annotations = metadata.get("annotations") or {}
        desired = deployment["spec"].get("replicas", 1)
        ready = deployment.get("status", {}).get("readyReplicas", 0)
        max_replicas = annotations.get(MAX_REPLICAS_ANNOTATION)
        workers_each = int(annotations.get(CONCURRENCY_ANNOTATION, 1))
        for step in filter(None, map(str.strip, annotations.get(STEPS_ANNOTATION, "").split(","))):
            total = found.get(step, Replicas(0, 0))
            names = (*total.deployments, metadata["name"])
            found[step] = Replicas(
                desired=total.desired + desired,
                ready=total.ready + ready,
                deployments=names,
                namespace=metadata.get("namespace", ""),
                max_workers=None
                if max_replicas is None
                else (total.max_workers or 0) + int(max_replicas) * workers_each,
                workers_each=workers_each,
            )
    return found
