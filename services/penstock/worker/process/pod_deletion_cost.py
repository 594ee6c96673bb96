"""Notes on a worker's own pod how busy it is, so that Kubernetes takes idle pods first when a step is scaled in.

A ReplicaSet that must shrink removes the pods with the lowest `controller.kubernetes.io/pod-deletion-cost`. What a
worker's processes write into their liveness files, `busy` or `idle`, is looked at every second; the share of the last
half minute in which they were busy is the cost, 0 to 100. It is written seldom, because every change of a pod goes to
all who watch pods: when it has changed by 10 or more, or from or to 0, and at most every ten seconds or so.

The request is made by Python's own library: Kubernetes' client would cost a step's process 57 MB.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from penstock.common.backoff import Backoff
from penstock.common.model.errors import UnavailableError
from penstock.common.settings import KubernetesSettings, SettingsError
from penstock.common.tls import make_ssl_context
from penstock.worker.liveness import BUSY

log = logging.getLogger(__name__)

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
_LOOK_SECS = 1.0
_LOOKS = 30
_BACKOFF = Backoff(first_secs=15.0, max_secs=300.0, jitter=1 / 3)
"""Between two writes; each pod waits another while, so that a step's pods do not write at once."""
_MATERIAL = 10
_TIMEOUT_SECS = 5.0


class DeletionCost:
    """Looks at the files of a worker's processes, and has the cost written when it changes.

    Args:
        files: the liveness file of each process.
        write: writes a cost; raises UnavailableError where that fails, which hurts nobody.
    """

    def __init__(self, files: Sequence[Path], write: Callable[[int], None]) -> None:
        self._files = files
        self._write = write
        self._looks: deque[float] = deque(maxlen=_LOOKS)
        self._written: int | None = None
        self._failures = 0

    def start(self) -> None:
        """Begin, on a thread that ends with the process."""
        threading.Thread(target=self._run, name="deletion-cost", daemon=True).start()

    def _run(self) -> None:
        due = time.monotonic() + _BACKOFF.delay_secs(0)
        while True:
            time.sleep(_LOOK_SECS)
            self.look()
            if time.monotonic() >= due and self.write_if_changed():
                due = time.monotonic() + _BACKOFF.delay_secs(self._failures)

    def look(self) -> None:
        """Note how many of the processes are busy just now."""
        self._looks.append(sum(map(_is_busy, self._files)) / len(self._files))

    @property
    def cost(self) -> int:
        """0 for a pod that was idle for half a minute, 100 for one whose processes were all busy."""
        share = sum(self._looks) / max(1, len(self._looks))
        return max(1, round(100 * share)) if share else 0

    def write_if_changed(self) -> bool:
        """Write the cost where it differs much from what was written last; return whether that was tried."""
        cost, before = self.cost, self._written
        if before is not None and (cost == 0) == (before == 0) and abs(cost - before) < _MATERIAL:
            return False
        try:
            self._write(cost)
        except UnavailableError as error:
            if not self._failures:
                log.warning("the pod's deletion cost cannot be written: %s; trying again, silently", error.message)
            self._failures += 1
        else:
            self._written, self._failures = cost, 0
        return True


class OwnPod:
    """This pod, by Kubernetes' API."""

    def __init__(self, settings: KubernetesSettings) -> None:
        """Note where the pod is to be found.

        Raises:
            SettingsError: its name or namespace is not set.
        """
        for name in ("pod_name", "pod_namespace"):
            if not getattr(settings, name):
                raise SettingsError(
                    "invalid_settings", f"PENSTOCK_{name.upper()} is not set; the deletion cost needs it"
                )
        self._url = urlsplit(settings.kubernetes_url)
        self._account = settings.kubernetes_account
        self._path = f"/api/v1/namespaces/{quote(str(settings.pod_namespace))}/pods/{quote(str(settings.pod_name))}"

    def write_cost(self, cost: int) -> None:
        """Annotate the pod.

        Raises:
            UnavailableError: there is no answer, or it is no.
        """
        body = json.dumps({"metadata": {"annotations": {ANNOTATION: str(cost)}}})
        try:
            status, answer = self._patch(body)
        except (OSError, HTTPException, ValueError) as error:
            text = f"{type(error).__name__}: {error}"
            raise UnavailableError("Kubernetes", f"no answer from {self._url.netloc}: {text}") from error
        if status >= 400:
            raise UnavailableError("Kubernetes", f"PATCH {self._path}: {status} {_explain(answer)}")

    def _patch(self, body: str) -> tuple[int, bytes]:
        """Send a merge patch. Token and authority are read each time: both are replaced while a pod lives."""
        token = (self._account / "token").read_text().strip()
        context = make_ssl_context(self._account / "ca.crt")
        connection = HTTPSConnection(
            self._url.hostname or "", self._url.port or 443, timeout=_TIMEOUT_SECS, context=context
        )
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
            connection.request("PATCH", self._path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _is_busy(file: Path) -> bool:
    try:
        return file.read_text() == BUSY
    except OSError:
        return False  # it has not begun, or leaves


def _explain(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")
