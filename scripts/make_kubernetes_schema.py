"""Generate the JSON Schema for kubeconform from a cluster's OpenAPI document.

`kubectl get --raw /openapi/v2 | make_kubernetes_schema.py` writes tests/chart/kubernetes.schema.json. Needed only when
the chart uses a new kind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "tests" / "chart" / "kubernetes.schema.json"
PREFIX = "#/definitions/"
KINDS = {
    "v1": ("ConfigMap", "PersistentVolumeClaim", "Pod", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding"),
    "admissionregistration.k8s.io/v1": ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    "keda.sh/v1alpha1": ("ScaledObject",),
}
LOOSE: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["integer", "string"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["number", "string"]},
}
"""Types of which the API accepts more forms than it documents."""
KEPT = {"type", "properties", "required", "items", "enum", "additionalProperties", "$ref", "allOf"}


def main() -> None:
    """Read the OpenAPI document from standard input, and write the schema."""
    definitions: dict[str, Any] = json.load(sys.stdin)["definitions"]
    roots = {(version, kind): find(definitions, version, kind) for version, kinds in KINDS.items() for kind in kinds}
    wanted = collect(definitions, list(roots.values()))
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {"kind": {"enum": sorted(kind for _, kind in roots)}},
        "allOf": [choose(version, kind, name) for (version, kind), name in roots.items()],
        "definitions": {name: LOOSE.get(name) or tighten(definitions[name]) for name in sorted(wanted)},
    }
    TARGET.write_text(json.dumps(schema, separators=(",", ":")) + "\n")


def find(definitions: dict[str, Any], version: str, kind: str) -> str:
    """Return the name of the definition of a kind."""
    group, _, number = version.rpartition("/")
    wanted = {"group": group, "kind": kind, "version": number}
    return next(name for name, each in definitions.items() if wanted in each.get("x-kubernetes-group-version-kind", ()))


def collect(definitions: dict[str, Any], names: list[str]) -> set[str]:
    """Return the names of definitions and of all that they refer to."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            names.extend(find_references(definitions[name]))
    return found


def find_references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for each in schema for name in find_references(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].removeprefix(PREFIX)] if isinstance(schema.get("$ref"), str) else []
    return own + [name for each in schema.values() for name in find_references(each)]


def tighten(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without descriptions, which refuses unknown keys."""
    kept: dict[str, Any] = {name: value for name, value in schema.items() if name in KEPT}
    if "properties" in kept:
        kept["properties"] = {name: tighten(each) for name, each in kept["properties"].items()}
        kept.setdefault("additionalProperties", False)
    if isinstance(kept.get("items"), dict):
        kept["items"] = tighten(kept["items"])
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = tighten(kept["additionalProperties"])
    return kept


def choose(version: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"kind": {"const": kind}}},
        "then": {"allOf": [{"properties": {"apiVersion": {"const": version}}}, {"$ref": f"{PREFIX}{name}"}]},
    }


if __name__ == "__main__":
    main()
