"""`k8s/`: rendered manifests and example values, checked against the chart and a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kube import CommandError, call, find_cluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "penstock"
RENDERED = ROOT / "k8s" / "rendered"
VARIANTS = ["per-step", "fused", "keda"]
VALUES = [*sorted((ROOT / "k8s" / "gke").glob("values-*.yaml")), ROOT / "k8s" / "values-small.yaml"]
NAMESPACE = "penstock-rendered"


def skip_or_fail(reason: str) -> None:
    """What is missing is skipped at home and fails under CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def helm() -> None:
    if shutil.which("helm") is None:
        skip_or_fail("helm is not installed")


def load(variant: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((RENDERED / f"{variant}.yaml").read_text()))


def names(variant: str, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in load(variant) if each["kind"] == kind}


def render(*options: str) -> list[dict[str, Any]]:
    command = ["helm", "template", "penstock", str(CHART), "--namespace", "penstock", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [each for each in yaml.safe_load_all(ran.stdout) if each]


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/render_manifests.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_rendered_manifests_match_the_chart(helm: None) -> None:
    checked = run_script("--check")
    assert checked.returncode == 0, checked.stderr


def test_rendering_without_helm_is_skipped_but_fails_in_ci(tmp_path: Path) -> None:
    at_home = run_script("--check", PATH=str(tmp_path), CI="")
    in_ci = run_script("--check", PATH=str(tmp_path), CI="true")
    assert (at_home.returncode, in_ci.returncode) == (0, 1)
    assert "helm is not installed" in at_home.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_rendered_manifests_contain_no_secrets_and_use_one_namespace(variant: str) -> None:
    documents = load(variant)
    assert "Secret" not in {each["kind"] for each in documents}
    assert {each["metadata"].get("namespace", "penstock") for each in documents} == {"penstock"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_readme_creates_every_secret_that_rendered_pods_need(variant: str) -> None:
    text = (RENDERED / f"{variant}.yaml").read_text()
    wanted = set(re.findall(r"secretKeyRef:\s+key: (\S+)\s+name: (\S+)", text))
    wanted |= {(key, name) for name, key in re.findall(r"secretKeyRef:\s+name: (\S+)\s+key: (\S+)", text)}
    page = (RENDERED / "README.md").read_text()
    made = {
        (key, name)
        for name, command in re.findall(r"create secret generic (\S+)((?:.|\\\n)*?)(?=\nkubectl|\n```)", page)
        for key in re.findall(r"--from-literal=([\w.]+)=", command)
    }
    assert wanted
    assert wanted <= made


def test_definitions_contain_the_placeholder_that_the_readme_replaces() -> None:
    users = json.loads((RENDERED / "rabbitmq-definitions.json").read_text())["users"]
    assert [user["password"] for user in users] == ["PASSWORD"]
    assert "s/PASSWORD/$password/" in (RENDERED / "README.md").read_text()


def test_each_variant_has_its_deployments_and_its_scaler() -> None:
    steps = {f"penstock-{step}" for step in ("resize", "split", "blur", "encode")}
    assert names("per-step", "HorizontalPodAutoscaler") == names("keda", "ScaledObject") == steps
    assert steps <= names("per-step", "Deployment")
    assert names("fused", "Deployment") == {"penstock-coordinator", "penstock-web", "penstock-fused"}
    assert names("fused", "HorizontalPodAutoscaler") == {"penstock-fused"}
    assert names("keda", "HorizontalPodAutoscaler") == set()


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_example_values_are_accepted_by_the_charts_schema(path: Path, helm: None) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    assert "Deployment" in {each["kind"] for each in render("--values", str(path))}


def test_values_for_the_spot_pool_only_move_the_steps(helm: None) -> None:
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in render("--values", str(ROOT / "k8s" / "gke" / "values-standard.yaml"))
        if each["kind"] == "Deployment"
    }
    tainted = re.search(r"--node-taints=(\S+)=true:NoSchedule", (ROOT / "k8s" / "gke" / "node-pools.sh").read_text())
    assert tainted is not None
    assert tainted[1] in {each["key"] for each in pods["penstock-blur"]["tolerations"]}
    assert pods["penstock-blur"]["nodeSelector"] == {tainted[1]: "true"}
    assert "nodeSelector" not in pods["penstock-web"]
    assert "nodeSelector" not in pods["penstock-coordinator"]


def test_the_charts_service_accounts_get_access_to_the_bucket() -> None:
    script = (ROOT / "k8s" / "gke" / "bucket.sh").read_text()
    named = re.search(r"SERVICE_ACCOUNTS:-([\w -]+)", script)
    assert named is not None
    assert set(named[1].split()) == names("per-step", "ServiceAccount")


def test_the_load_balancers_policies_match_the_web_service_and_its_port(helm: None) -> None:
    policies = list(yaml.safe_load_all((ROOT / "k8s" / "gke" / "gateway-policies.yaml").read_text()))
    assert {each["spec"]["targetRef"]["name"] for each in policies} <= names("per-step", "Service")
    web = next(
        each for each in load("per-step") if (each["kind"], each["metadata"]["name"]) == ("Deployment", "penstock-web")
    )
    ports = {port["containerPort"] for port in web["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert policies[0]["spec"]["default"]["config"]["httpHealthCheck"]["port"] in ports


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace of the current cluster with Pod Security "restricted", deleted afterwards."""
    missing = find_cluster()
    if missing:
        skip_or_fail(missing)
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {}}}
    manifest["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    call("kubectl", "apply", "-f", "-", stdin=json.dumps(manifest))
    yield NAMESPACE
    try:
        call("kubectl", "delete", "namespace", NAMESPACE, "--wait=false")
    except CommandError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("variant", ["per-step", "fused"])
def test_a_cluster_accepts_the_rendered_manifests(variant: str, namespace: str) -> None:
    documents = load(variant)
    for each in documents:
        if "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = namespace
    said = call("kubectl", "apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(documents))
    assert said.count("(server dry run)") == len(documents)
    assert "would violate" not in said
