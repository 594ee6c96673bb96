"""Kubernetes cluster: a real one, used through kubectl and helm, and found by a script beside the checkout."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "penstock"
SCRIPT = ROOT.parent / "shared" / "cluster" / "cluster"
COMMAND_SECS = 120.0
INSTALL_SECS = 150
PAUSE_SECS = 0.5


class CommandError(Exception):
    """A command failed; the message is its output."""


def call(*command: str, stdin: str | None = None, secs: float = COMMAND_SECS) -> str:
    """Run a command; return its output.

    Raises:
        CommandError: the command failed or timed out.
    """
    try:
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=secs, check=False)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(command)}: timed out after {secs:g} s") from error
    if ran.returncode:
        raise CommandError(f"{' '.join(command)}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout


def wait_for(what: str, get: Callable[[], Any], secs: float = COMMAND_SECS, pause_secs: float = PAUSE_SECS) -> Any:
    """Return the first true result of `get`; fail the test after `secs`.

    Polls seldom, because each poll may be a command and the cluster needs the CPU.
    """
    deadline = time.monotonic() + secs
    while not (got := get()):
        assert time.monotonic() < deadline, f"{what}: not within {secs:g} s"
        time.sleep(pause_secs)
    return got


def find_cluster() -> str | None:
    """Set the environment for the cluster beside the checkout, if there is one; return what is missing, if anything."""
    if SCRIPT.exists():
        for name, value in re.findall(r"(\w+)=(\S+)", call(str(SCRIPT), "env")):
            os.environ[name] = value.replace("$PATH", os.environ["PATH"])
    missing = [program for program in ("kubectl", "helm", "docker") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} are not installed"
    try:
        call("kubectl", "get", "--raw", "/readyz", secs=10)
    except CommandError:
        return "no Kubernetes cluster is reachable"
    return None


def cluster(*arguments: str, secs: float = 600) -> str:
    """Run the cluster's script beside the checkout: `load`, `registry`, `nodes`, …"""
    return call(str(SCRIPT), *arguments, secs=secs)


@dataclass(frozen=True)
class Pod:
    """One pod, from its JSON."""

    shown: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.shown["metadata"]["name"])

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed."""
        return str(self.shown["status"].get("phase", "Unknown"))

    @property
    def is_terminating(self) -> bool:
        """Whether it is being deleted."""
        return "deletionTimestamp" in self.shown["metadata"]

    @property
    def node(self) -> str | None:
        """The node it is scheduled on."""
        return self.shown["spec"].get("nodeName")

    @property
    def ready(self) -> bool:
        """Whether it is ready and not being deleted."""
        return self._ready_at is not None and not self.is_terminating

    @property
    def deletion_cost(self) -> int:
        """Its pod deletion cost."""
        annotations = self.shown["metadata"].get("annotations", {})
        return int(annotations.get("controller.kubernetes.io/pod-deletion-cost", 0))

    @property
    def restarts(self) -> int:
        """Restarts of all its containers."""
        return sum(each["restartCount"] for each in self.shown["status"].get("containerStatuses", []))

    @property
    def container_ids(self) -> list[str]:
        """Ids of its containers without the runtime's prefix."""
        statuses = self.shown["status"].get("containerStatuses", [])
        return [each["containerID"].rpartition("/")[2] for each in statuses if each.get("containerID")]

    @property
    def secs_to_ready(self) -> float | None:
        """Seconds from its last container's start until it was ready; the cluster's times are whole seconds."""
        started = [
            each["state"]["running"]["startedAt"]
            for each in self.shown["status"].get("containerStatuses", [])
            if "running" in each["state"]
        ]
        if self._ready_at is None or not started:
            return None
        return (self._ready_at - datetime.fromisoformat(max(started))).total_seconds()

    @property
    def _ready_at(self) -> datetime | None:
        for condition in self.shown["status"].get("conditions", []):
            if condition["type"] == "Ready" and condition["status"] == "True":
                return datetime.fromisoformat(condition["lastTransitionTime"])
        return None


@dataclass(frozen=True)
class Namespace:
    """One namespace."""

    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, secs: float = COMMAND_SECS) -> str:
        """Run kubectl in this namespace."""
        return call("kubectl", "--namespace", self.name, *arguments, stdin=stdin, secs=secs)

    def get(self, *what: str) -> Any:
        """Return the JSON of `kubectl get`."""
        return json.loads(self.kubectl("get", *what, "--output", "json"))

    def names(self, kinds: str) -> list[str]:
        """Return `kind/name` of all objects of some kinds."""
        return self.kubectl("get", kinds, "--output", "name").split()

    def pods(self, component: str | None = None) -> list[Pod]:
        """Return all pods, or those of one component."""
        selector = [f"--selector=app.kubernetes.io/component={component}"] if component else []
        return [Pod(shown) for shown in self.get("pods", *selector)["items"]]

    def ready_pods(self, component: str) -> list[Pod]:
        """Return a component's pods that are ready."""
        return [pod for pod in self.pods(component) if pod.ready]

    def secret(self, name: str) -> dict[str, str]:
        """Return a secret's decoded data."""
        data = self.get("secret", name).get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def address(self, service: str) -> str:
        """Return a service's cluster IP and first port, which are reachable from this machine."""
        spec = self.get("service", service)["spec"]
        return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def apply(self, manifest: str) -> None:
        """Create or change objects."""
        self.kubectl("apply", "--filename", "-", stdin=manifest)

    def create(self) -> None:
        """Delete and create the namespace, with Pod Security "restricted" enforced."""
        self.delete()
        call("kubectl", "create", "namespace", self.name)
        call("kubectl", "label", "namespace", self.name, "pod-security.kubernetes.io/enforce=restricted")

    def delete(self) -> None:
        """Delete it with all its objects and the data of its volumes."""
        call("kubectl", "delete", "namespace", self.name, "--ignore-not-found", "--timeout=90s")
        if SCRIPT.exists():
            cluster("storage")


@dataclass
class Release:
    """One release of the chart. `values` are those of the last install or upgrade; `helm` is the program."""

    namespace: Namespace
    chart: str = str(CHART)
    name: str = "penstock"
    files: Sequence[Path] = (CHART / "ci" / "local-values.yaml",)
    options: Sequence[str] = ()
    values: dict[str, Any] = field(default_factory=dict)
    helm: str = "helm"

    def install(self, values: Mapping[str, Any] | None = None, *, wait: bool = True) -> None:
        """Install it, and by default wait until it is ready."""
        self._apply("install", values or {}, wait=wait)

    def upgrade(self, values: Mapping[str, Any] | None = None, *, wait: bool = True) -> None:
        """Change some values and keep the others; by default wait until it is ready."""
        self._apply("upgrade", values or {}, wait=wait)

    def rollback(self, revision: int = 0) -> None:
        """Go back to a revision, by default to the one before; `values` do not follow."""
        self._helm("rollback", self.name, str(revision))

    def test(self) -> str:
        """Run the chart's test; return its output."""
        return self._helm("test", self.name, "--logs", f"--timeout={INSTALL_SECS}s")

    def uninstall(self) -> str:
        """Uninstall it; return helm's output."""
        return self._helm("uninstall", self.name, "--wait", f"--timeout={INSTALL_SECS}s")

    def scale(self, component: str, replicas: int) -> None:
        """Scale a component by hand."""
        self.namespace.kubectl("scale", f"deployment/{self.name}-{component}", f"--replicas={replicas}")

    def wait_for(self, component: str, ready: int, secs: float = COMMAND_SECS) -> None:
        """Wait until a component has exactly `ready` pods, all of them ready."""
        wait_for(f"{ready} {component} pods", lambda: _are_ready(self.namespace.pods(component), ready), secs)

    def wait_until_ready(self) -> None:
        """Wait until all desired pods are ready."""
        for kind in ("deployment", "statefulset"):
            for name in self.namespace.names(kind):
                self.namespace.kubectl("rollout", "status", name, f"--timeout={INSTALL_SECS}s", secs=INSTALL_SECS + 10)

    def _apply(self, verb: str, values: Mapping[str, Any], *, wait: bool = True) -> None:
        merge(self.values, values)
        options = [*(f"--values={path}" for path in self.files), "--values=-", *self.options]
        options += ["--wait", f"--timeout={INSTALL_SECS}s"] if wait else []
        self._helm(verb, self.name, self.chart, *options, stdin=json.dumps(self.values))

    def _helm(self, *arguments: str, stdin: str | None = None) -> str:
        return call(self.helm, "--namespace", self.namespace.name, *arguments, stdin=stdin, secs=INSTALL_SECS + 30)


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Merge values into others, as Helm merges values files."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def kill_container(container_id: str) -> list[int]:
    """Send SIGKILL to every process of a container on this machine; return their ids."""
    killed = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if container_id in (folder / "cgroup").read_text():
                os.kill(int(folder.name), 9)
                killed.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return killed


def seconds_since(started: float) -> float:
    """Return the seconds since a `time.monotonic` value, rounded to a tenth."""
    return round(time.monotonic() - started, 1)


def _are_ready(pods: Sequence[Pod], wanted: int) -> bool:
    return len(pods) == wanted and all(pod.ready for pod in pods)
