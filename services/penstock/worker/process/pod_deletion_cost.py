"""Pod deletion cost: writes to a worker's own pod whether it is busy, so that Kubernetes removes idle pods first.

A ReplicaSet that scales in removes the pods with the lowest `controller.kubernetes.io/pod-deletion-cost`. The worker's
processes write `busy` or `idle` into their liveness files, which are read every second. The pod counts as idle once no
process was busy for half a minute. Every change of a pod is sent to all that watch pods, so the cost is written only
when the pod becomes busy or idle, and at most every 30 seconds.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from penstock.common.backoff import Backoff
from penstock.common.kubernetes import TIMEOUT_SECS, KubernetesClient
from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings, SettingsError
from penstock.worker.liveness import BUSY

log = logging.getLogger(__name__)

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
BUSY_COST, IDLE_COST = 100, 0
IDLE_SECS = 30.0
MIN_WRITE_SECS = 30.0
_READ_SECS = 1.0


class DeletionCost:
    """Reads the liveness files of a worker's processes, and writes the cost when the pod becomes busy or idle.

    `write` may raise UnavailableError, and is then called again later.
    """

    def __init__(
        self, files: Sequence[Path], write: Callable[[int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files
        self._write = write
        self._clock = clock
        self._busy_until = 0.0
        self._written: int | None = None
        self._write_at = 0.0
        # The random part keeps a step's pods from writing at the same moment.
        self._backoff = Backoff(first_secs=1.5 * MIN_WRITE_SECS, max_secs=300.0, jitter=1 / 3)

    def start(self) -> None:
        """Start, on a thread that ends with the process."""
        threading.Thread(target=self._run, name="deletion-cost", daemon=True).start()

    def update(self) -> None:
        """Read the files; write the cost if it has changed and the last write is long enough ago."""
        now = self._clock()
        if any(map(_is_busy, self._files)):
            self._busy_until = now + IDLE_SECS
        cost = BUSY_COST if now < self._busy_until else IDLE_COST
        if cost == self._written or now < self._write_at:
            return
        try:
            self._write(cost)
        except UnavailableError as error:
            if not self._backoff.retries:
                log.warning("pod deletion cost not written, will be retried: %s", error.message)
            self._write_at = now + self._backoff.next_secs()
        else:
            self._written = cost
            self._write_at = now + self._backoff.delay_secs(0)
            self._backoff.reset()

    def _run(self) -> None:
        while True:
            time.sleep(_READ_SECS)
            self.update()


class OwnPod:
    """The pod that this process runs in."""

    def __init__(self, settings: KubernetesSettings) -> None:
        """Read the pod's name and namespace from the settings; raises SettingsError if one of them is not set."""
        self._name = _require("PENSTOCK_POD_NAME", settings.pod_name)
        self._namespace = _require("PENSTOCK_POD_NAMESPACE", settings.pod_namespace)
        self._client = KubernetesClient(settings)

    def write_cost(self, cost: int) -> None:
        """Annotate the pod; raises UnavailableError if Kubernetes is unreachable or refuses the request."""
        patch = {"metadata": {"annotations": {ANNOTATION: str(cost)}}}

        def write(client: Any) -> None:
            from kubernetes.client import CoreV1Api

            CoreV1Api(client).patch_namespaced_pod(self._name, self._namespace, patch, _request_timeout=TIMEOUT_SECS)

        self._client.call(f"annotating pod {self._name}", write)


def _require(variable: str, value: str | None) -> str:
    if not value:
        raise SettingsError("invalid_settings", f"{variable} is not set; the deletion cost needs it")
    return value


def _is_busy(file: Path) -> bool:
    try:
        return file.read_text().startswith(BUSY)
    except OSError:
        return False  # the process has not started, or stops
