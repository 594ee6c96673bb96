"""Autoscaler: sets the replicas of Deployments by the work left for their steps, while this coordinator leads."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from penstock.common.kubernetes import TIMEOUT_SECS, KubernetesClient
from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings, ScalingRule
from penstock.coordinator.ports.scheduler import Backlog

log = logging.getLogger(__name__)

_POLL_SECS = 5.0


class Scale(Protocol):
    """Replicas of Deployments, by name. Calls raise UnavailableError."""

    def read(self, deployment: str) -> int:
        """Return how many replicas are desired."""
        ...

    def write(self, deployment: str, replicas: int) -> None:
        """Set how many replicas are desired."""
        ...


class Autoscaler:
    """One thread that looks every few seconds. It adds replicas at once, and removes them late.

    As for Kubernetes' own autoscaler, the highest number that was wanted within `scale_down_secs` counts, so that a
    short pause between two jobs costs no pods.
    """

    def __init__(
        self,
        rules: Mapping[str, ScalingRule],
        measure: Callable[[list[str], float], Backlog],
        scale: Scale,
        *,
        leads: Callable[[], bool] = lambda: True,
        poll_secs: float = _POLL_SECS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._measure = measure
        self._scale = scale
        self._leads = leads
        self._poll_secs = poll_secs
        self._clock = clock
        self._wanted: dict[str, deque[tuple[float, int]]] = {}
        """For each Deployment, the numbers that were wanted lately, each with the time."""
        self._failures: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autoscaler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting for a request in progress."""
        self._stopping.set()

    def scale_once(self) -> None:
        """Look at every Deployment now, if this coordinator leads. Only the first of several failures is logged."""
        if not self._leads():
            self._wanted.clear()
            return
        for name, rule in self._rules.items():
            try:
                self._scale_deployment(name, rule)
            except UnavailableError as error:
                if self._failures.get(name) != error.message:
                    log.warning("deployment %s not scaled: %s; retrying", name, error.message)
                self._failures[name] = error.message
            else:
                if self._failures.pop(name, None):
                    log.info("deployment %s is scaled again", name)

    def _scale_deployment(self, name: str, rule: ScalingRule) -> None:
        backlog = self._measure(rule.steps, rule.secs_per_replica / rule.workers_per_replica)
        wanted = count_replicas(backlog, rule)
        replicas = self._scale.read(name)
        now = self._clock()
        # What an earlier leader wanted is unknown: what it left counts as wanted until now.
        recent = self._wanted.setdefault(name, deque([(now, min(replicas, rule.max_replicas))]))
        recent.append((now, wanted))
        while recent[0][0] < now - rule.scale_down_secs:
            recent.popleft()
        target = max(number for _, number in recent)
        if target != replicas:
            self._scale.write(name, target)
            log.info("scaled deployment %s from %d to %d replicas", name, replicas, target)

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_secs):
            try:
                self.scale_once()
            except Exception:
                log.exception("steps not scaled: unexpected error")


def count_replicas(backlog: Backlog, rule: ScalingRule) -> int:
    """Return the replicas for the workers that a backlog wants."""
    wanted = math.ceil(backlog.wanted_workers / rule.workers_per_replica)
    return min(rule.max_replicas, max(rule.min_replicas, wanted))


class DeploymentScale:
    """The scale of Deployments in one namespace, and nothing else of them. Not thread-safe."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._client = KubernetesClient(settings)

    def read(self, deployment: str) -> int:
        """Return how many replicas are desired; raises UnavailableError if Kubernetes does not say."""
        found: Any = self._call("reading", deployment, "get_namespaced_custom_object_scale")
        return int(found["spec"].get("replicas", 0))

    def write(self, deployment: str, replicas: int) -> None:
        """Set how many replicas are desired; raises UnavailableError if Kubernetes is unreachable or refuses."""
        self._call("writing", deployment, "patch_namespaced_custom_object_scale", {"spec": {"replicas": replicas}})

    def _call(self, action: str, deployment: str, method: str, *body: object) -> Any:
        def call(client: Any) -> Any:
            from kubernetes.client import CustomObjectsApi

            ask = getattr(CustomObjectsApi(client), method)
            place = ("apps", "v1", self._client.namespace, "deployments", deployment)
            return ask(*place, *body, _request_timeout=TIMEOUT_SECS)

        return self._client.call(f"{action} the scale of Deployment {deployment}", call)
