"""A real Kubernetes, spoken to as its users do: by kubectl and helm. Where a test's own cluster is, a script tells."""

from __future__ import annotations

import base64
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
    """A command failed; the message is what it said."""


def call(*command: str, stdin: str | None = None, secs: float = COMMAND_SECS) -> str:
    """Run a command; return what it wrote.

    Raises:
        CommandError: it failed, or took too long.
    """
    try:
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=secs, check=False)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(command)}: not within {secs:g} s") from error
    if ran.returncode:
        raise CommandError(f"{' '.join(command)}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout


def wait_for(what: str, get: Callable[[], Any], secs: float = COMMAND_SECS, pause_secs: float = PAUSE_SECS) -> Any:
    """Return what `get` returns once that is something; fail the test if it isn't within `secs`.

    It looks less often than tests of processes do: each look may be a command, and the cluster needs the CPU.
    """
    deadline = time.monotonic() + secs
    while not (got := get()):
        assert time.monotonic() < deadline, f"{what}: not within {secs:g} s"
        time.sleep(pause_secs)
    return got


def find_cluster() -> str | None:
    """Set the environment for the cluster beside the checkout, if it is there; return what is missing, if anything."""
    if SCRIPT.exists():
        for name, value in re.findall(r"(\w+)=(\S+)", call(str(SCRIPT), "env")):
            os.environ[name] = value.replace("$PATH", os.environ["PATH"])
    missing = [program for program in ("kubectl", "helm", "docker") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} are not installed"
    try:
        call("kubectl", "get", "--raw", "/readyz", secs=10)
    except CommandError:
        return "no Kubernetes answers"
    return None


def cluster(*arguments: str, secs: float = 600) -> str:
    """Call the script of the cluster beside the checkout: `load`, `registry`, `nodes`, …"""
    return call(str(SCRIPT), *arguments, secs=secs)


@dataclass(frozen=True)
class Pod:
    """One pod, as the cluster shows it."""

    shown: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.shown["metadata"]["name"])

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed."""
        return str(self.shown["status"].get("phase", "Unknown"))

    @property
    def leaves(self) -> bool:
        """Whether it was told to."""
        return "deletionTimestamp" in self.shown["metadata"]

    @property
    def node(self) -> str | None:
        """Where it was placed."""
        return self.shown["spec"].get("nodeName")

    @property
    def ready(self) -> bool:
        """Whether it is ready, and stays."""
        return self._ready_at is not None and not self.leaves

    @property
    def deletion_cost(self) -> int:
        """How much it says its end would cost."""
        annotations = self.shown["metadata"].get("annotations", {})
        return int(annotations.get("controller.kubernetes.io/pod-deletion-cost", 0))

    @property
    def restarts(self) -> int:
        """How often its containers were started again."""
        return sum(each["restartCount"] for each in self.shown["status"].get("containerStatuses", []))

    @property
    def container_ids(self) -> list[str]:
        """The ids of its containers, without the runtime's name."""
        statuses = self.shown["status"].get("containerStatuses", [])
        return [each["containerID"].rpartition("/")[2] for each in statuses if each.get("containerID")]

    @property
    def secs_to_ready(self) -> float | None:
        """Seconds from its last container's start until it was ready, by the cluster's clock of whole seconds."""
        began = [
            each["state"]["running"]["startedAt"]
            for each in self.shown["status"].get("containerStatuses", [])
            if "running" in each["state"]
        ]
        if self._ready_at is None or not began:
            return None
        return (self._ready_at - datetime.fromisoformat(max(began))).total_seconds()

    @property
    def _ready_at(self) -> datetime | None:
        for condition in self.shown["status"].get("conditions", []):
            if condition["type"] == "Ready" and condition["status"] == "True":
                return datetime.fromisoformat(condition["lastTransitionTime"])
        return None


@dataclass(frozen=True)
class Namespace:
    """One namespace, and what is done in it."""

    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, secs: float = COMMAND_SECS) -> str:
        """Run kubectl here."""
        return call("kubectl", "--namespace", self.name, *arguments, stdin=stdin, secs=secs)

    def get(self, *what: str) -> Any:
        """Return what `kubectl get -o json` says."""
        return json.loads(self.kubectl("get", *what, "--output", "json"))

    def names(self, kinds: str) -> list[str]:
        """Return `kind/name` of everything of some kinds."""
        return self.kubectl("get", kinds, "--output", "name").split()

    def pods(self, component: str | None = None) -> list[Pod]:
        """Return the pods, or those of one component."""
        selector = [f"--selector=app.kubernetes.io/component={component}"] if component else []
        return [Pod(shown) for shown in self.get("pods", *selector)["items"]]

    def ready_pods(self, component: str) -> list[Pod]:
        """Return a component's pods that are ready."""
        return [pod for pod in self.pods(component) if pod.ready]

    def secret(self, name: str) -> dict[str, str]:
        """Return what a secret holds."""
        held = self.get("secret", name).get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in held.items()}

    def address(self, service: str) -> str:
        """Return a service's address and its first port, which this machine reaches as pods do."""
        spec = self.get("service", service)["spec"]
        return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def apply(self, manifest: str) -> None:
        """Create or change objects."""
        self.kubectl("apply", "--filename", "-", stdin=manifest)

    def create(self) -> None:
        """Make the namespace anew, whatever an earlier run has left. Pods that are not restricted are refused in it."""
        self.delete()
        call("kubectl", "create", "namespace", self.name)
        call("kubectl", "label", "namespace", self.name, "pod-security.kubernetes.io/enforce=restricted")

    def delete(self) -> None:
        """Remove it with all it holds, and empty the volumes of its claims."""
        call("kubectl", "delete", "namespace", self.name, "--ignore-not-found", "--timeout=90s")
        if SCRIPT.exists():
            cluster("storage")


@dataclass
class Release:
    """One release of the chart. `values` are those it was last installed or upgraded with, over the chart's own."""

    namespace: Namespace
    chart: str = str(CHART)
    name: str = "penstock"
    files: Sequence[Path] = (CHART / "ci" / "local-values.yaml",)
    options: Sequence[str] = ()
    values: dict[str, Any] = field(default_factory=dict)

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Install it, and wait until it is ready."""
        self._apply("install", values or {})

    def upgrade(self, values: Mapping[str, Any] | None = None, *, wait: bool = True) -> None:
        """Change some values, keep the others, and wait until it is ready."""
        self._apply("upgrade", values or {}, wait=wait)

    def test(self) -> str:
        """Run the chart's own test; return what it says."""
        return self._helm("test", self.name, "--logs", f"--timeout={INSTALL_SECS}s")

    def uninstall(self) -> str:
        """Remove it; return what is said about that."""
        return self._helm("uninstall", self.name, "--wait", f"--timeout={INSTALL_SECS}s")

    def scale(self, component: str, replicas: int) -> None:
        """Scale a component by hand."""
        self.namespace.kubectl("scale", f"deployment/{self.name}-{component}", f"--replicas={replicas}")

    def wait_for(self, component: str, ready: int, secs: float = COMMAND_SECS) -> None:
        """Wait until so many pods of a component are ready, and no others are there."""
        wait_for(f"{ready} {component} pods", lambda: _are_ready(self.namespace.pods(component), ready), secs)

    def wait_until_ready(self) -> None:
        """Wait until every pod is ready that shall be there."""
        for kind in ("deployment", "statefulset"):
            for name in self.namespace.names(kind):
                self.namespace.kubectl("rollout", "status", name, f"--timeout={INSTALL_SECS}s", secs=INSTALL_SECS + 10)

    def _apply(self, verb: str, values: Mapping[str, Any], *, wait: bool = True) -> None:
        merge(self.values, values)
        options = [*(f"--values={path}" for path in self.files), "--values=-", *self.options]
        options += ["--wait", f"--timeout={INSTALL_SECS}s"] if wait else []
        self._helm(verb, self.name, self.chart, *options, stdin=json.dumps(self.values))

    def _helm(self, *arguments: str, stdin: str | None = None) -> str:
        return call("helm", "--namespace", self.namespace.name, *arguments, stdin=stdin, secs=INSTALL_SECS + 30)


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put values over others, as Helm does with files of values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def kill_container(container_id: str) -> list[int]:
    """Send SIGKILL to every process of a container of this machine; return their ids."""
    killed = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if container_id in (folder / "cgroup").read_text():
                os.kill(int(folder.name), 9)
                killed.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return killed


def seconds_since(began: float) -> float:
    """Return the seconds since a moment of `time.monotonic`, to a tenth."""
    return round(time.monotonic() - began, 1)


def _are_ready(pods: Sequence[Pod], wanted: int) -> bool:
    return len(pods) == wanted and all(pod.ready for pod in pods)
