"""Files of `k8s/` that are not rendered: compute classes and scripts for GKE, and pages that refer to them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GKE = ROOT / "k8s" / "gke"
CLASSES = sorted(GKE.glob("compute-class-*.yaml"))
SCRIPTS = {"cluster.sh": ["standard"], "node-pools.sh": ["spot"], "bucket.sh": [], "cloud-sql.sh": []}
PAGES = [ROOT / "docs" / "gke.md", ROOT / "docs" / "kubernetes.md", ROOT / "k8s" / "README.md"]
SELECTOR = "cloud.google.com/compute-class"
COUNT = {"type": "integer", "minimum": 1}
GPU = {
    "type": "object",
    "properties": {"type": {"type": "string"}, "count": COUNT, "driverVersion": {"enum": ["default", "latest"]}},
    "required": ["type", "count"],
    "additionalProperties": False,
}
PRIORITY = {
    "type": "object",
    "properties": {
        "machineFamily": {"type": "string"},
        "machineType": {"type": "string"},
        "spot": {"type": "boolean"},
        "gpu": GPU,
        "minCores": COUNT,
        "minMemoryGb": COUNT,
    },
    "oneOf": [{"required": ["machineFamily"]}, {"required": ["machineType"]}],
    "additionalProperties": False,
}
# https://cloud.google.com/kubernetes-engine/docs/reference/crds/computeclass, the fields that are used here.
COMPUTE_CLASS = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "cloud.google.com/v1"},
        "kind": {"const": "ComputeClass"},
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"pattern": "^[a-z][a-z0-9-]*$"}}},
        "spec": {
            "type": "object",
            "properties": {
                "priorities": {"type": "array", "items": PRIORITY, "minItems": 1},
                "nodePoolAutoCreation": {"properties": {"enabled": {"type": "boolean"}}, "additionalProperties": False},
                "activeMigration": {
                    "properties": {"optimizeRulePriority": {"type": "boolean"}},
                    "additionalProperties": False,
                },
                "autoscalingPolicy": {
                    "properties": {"consolidationDelayMinutes": {"type": "integer", "minimum": 1, "maximum": 1440}},
                    "additionalProperties": False,
                },
                "whenUnsatisfiable": {"enum": ["DoNotScaleUp", "ScaleUpAnyway"]},
            },
            "required": ["priorities"],
            "additionalProperties": False,
        },
    },
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
}


def load(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def find_values_of(key: str, tree: object) -> list[str]:
    """Return all values of a key in a tree."""
    if isinstance(tree, dict):
        below = [each for value in tree.values() for each in find_values_of(key, value)]
        return [str(tree[key]), *below] if key in tree else below
    if isinstance(tree, list):
        return [each for value in tree for each in find_values_of(key, value)]
    return []


def run_script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script for GKE without gcloud, so that it changes nothing."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], **environment}
    return subprocess.run([GKE / name, *arguments], env=bare, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize("path", CLASSES, ids=lambda path: path.stem)
def test_a_compute_class_has_only_fields_of_gke(path: Path) -> None:
    jsonschema.validate(load(path), COMPUTE_CLASS)


@pytest.mark.parametrize("path", CLASSES, ids=lambda path: path.stem)
def test_a_compute_class_prefers_spot_and_has_a_fallback(path: Path) -> None:
    spot = [priority["spot"] for priority in load(path)["spec"]["priorities"]]
    assert spot == sorted(spot, reverse=True)
    assert set(spot) == {True, False}


def test_the_check_of_compute_classes_refuses_a_typo() -> None:
    wrong = load(CLASSES[0])
    wrong["spec"]["priorities"][0]["spott"] = True
    with pytest.raises(jsonschema.ValidationError, match="spott"):
        jsonschema.validate(wrong, COMPUTE_CLASS)


def test_every_compute_class_that_example_values_select_exists() -> None:
    there = {load(path)["metadata"]["name"] for path in CLASSES}
    selected = {name for path in GKE.glob("values-*.yaml") for name in find_values_of(SELECTOR, load(path))}
    assert there == selected


def test_a_step_that_selects_the_gpu_class_requests_a_gpu_of_any_kind() -> None:
    steps = load(GKE / "values-gpu.yaml")["steps"]
    chosen = [step for step in steps.values() if "penstock-gpu" in find_values_of(SELECTOR, step)]
    assert chosen
    assert all(step["gpu"] == {"count": 1, "accelerator": ""} for step in chosen)


def test_every_script_is_tested() -> None:
    assert {path.name for path in GKE.glob("*.sh")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_reports_a_missing_variable(name: str) -> None:
    ran = run_script(name, *SCRIPTS[name])
    assert ran.returncode != 0
    assert f"{name}: set PROJECT" in ran.stderr


@pytest.mark.parametrize("name", ["cluster.sh", "node-pools.sh"])
def test_a_script_refuses_unknown_arguments_first(name: str) -> None:
    ran = run_script(name, "something", PROJECT="p", REGION="r")
    assert ran.returncode == 2
    assert '"something"' in ran.stderr
    assert "accepted" in ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_refer_only_to_existing_files(page: Path) -> None:
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    named = [ROOT / name for name in re.findall(r"\b((?:k8s|charts|scripts)/[\w./-]*\w)", text)]
    assert [path for path in (*links, *named) if not path.exists()] == []
    assert links
