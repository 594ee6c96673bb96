"""Chart rendering by `helm template` and `helm install --dry-run=client`."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "penstock"
VALUES = sorted((CHART.parents[1] / "tests" / "chart" / "values").glob("*.yaml"))
_TIMEOUT_SECS = 60


class RefusedError(Exception):
    """Helm refused to render; the message is its output."""


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: tuple[dict[str, Any], ...]

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object by kind and name; a KeyError lists the existing names."""
        named = self.all(kind)
        if name not in named:
            raise KeyError(f"{kind} {name}, only {sorted(named)}")
        return named[name]

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return all objects of a kind by their names."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield name and pod spec of all Pods, Deployments and StatefulSets."""
        for each in self.objects:
            if each["kind"] == "Pod":
                yield each["metadata"]["name"], each["spec"]
            elif each["kind"] in ("Deployment", "StatefulSet"):
                yield each["metadata"]["name"], each["spec"]["template"]["spec"]

    def environment(self, deployment: str) -> dict[str, Any]:
        """Return the environment of a Deployment's container, including ConfigMaps."""
        [container] = self.find("Deployment", deployment)["spec"]["template"]["spec"]["containers"]
        found: dict[str, Any] = {}
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                found |= self.find("ConfigMap", source["configMapRef"]["name"])["data"]
        return found | {each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", ())}


class Chart:
    """Renders the chart; results are cached."""

    def render(self, values: dict[str, Any] | Path | None = None, release: str = "penstock") -> Rendered:
        """Return the rendered objects.

        Raises:
            RefusedError: the values are not accepted.
        """
        given = values if isinstance(values, Path) else json.dumps(values or {})
        return Rendered(tuple(each for each in yaml.safe_load_all(_run("template", release, given)) if each))

    def notes(self, values: dict[str, Any] | None = None) -> str:
        """Return the notes after an install."""
        return _run("install", "penstock", json.dumps(values or {}), "--dry-run=client").partition("NOTES:")[2]


@functools.cache
def _run(verb: str, release: str, values: str | Path, *options: str) -> str:
    source = str(values) if isinstance(values, Path) else "-"
    command = ["helm", verb, release, str(CHART), "--namespace", "pictures", "--values", source, *options]
    text = None if isinstance(values, Path) else values
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECS)
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return done.stdout
