"""Examples for Kubernetes: backup and restore do what they say, and the manifests keep the chart's names and rules."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHART, Chart

EXAMPLES = CHART.parents[1] / "k8s" / "examples"
SECRET_CLAIMS = {"penstock-backup"}


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def pods(name: str) -> list[dict[str, Any]]:
    specs = [each["spec"] for each in read(name) if each["kind"] in ("CronJob", "Job", "Deployment")]
    return [spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"] for spec in specs]


def run(container: dict[str, Any], folder: Path) -> str:
    """Run a container's program over folders below another one instead of its volumes."""
    [program] = container["args"]
    for mount in container["volumeMounts"]:
        program = program.replace(mount["mountPath"], f"{folder}{mount['mountPath']}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_all(name: str, folder: Path) -> str:
    [spec] = pods(name)
    return "".join(run(container, folder) for container in (*spec["initContainers"], *spec["containers"]))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_backup_is_restored_with_all_images(tmp_path: Path) -> None:
    for name in ("data", "images/results/a", "images/.tmp", "backup"):
        (tmp_path / name).mkdir(parents=True)
    database = sqlite3.connect(tmp_path / "data" / "penstock.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE jobs (id)")
    database.execute("INSERT INTO jobs VALUES ('first')")  # in the write-ahead log alone
    (tmp_path / "images/results/a/1.jpg").write_bytes(b"first")
    (tmp_path / "images/results/a/2.jpg").write_bytes(b"deleted later")
    (tmp_path / "images/.tmp/3").write_bytes(b"being received")
    assert "2 new images copied, 2 images in all" in run_all("backup.yaml", tmp_path)

    (tmp_path / "images/results/a/2.jpg").unlink()
    (tmp_path / "images/results/a/4.jpg").write_bytes(b"fourth")
    assert "1 new images copied, 2 images in all" in run_all("backup.yaml", tmp_path)
    assert (tmp_path / "backup/penstock.sqlite").stat().st_mode & 0o077 == 0

    database.execute("INSERT INTO jobs VALUES ('after the backup')")
    (tmp_path / "images/results/a/1.jpg").unlink()
    database.close()
    run_all("restore.yaml", tmp_path)
    restored = sqlite3.connect(tmp_path / "data" / "penstock.sqlite")
    assert restored.execute("SELECT id FROM jobs").fetchall() == [("first",)]
    restored.close()
    assert tree(tmp_path / "images/results") == {"a/1.jpg": b"first", "a/4.jpg": b"fourth"}


def test_a_backup_of_no_database_fails(tmp_path: Path) -> None:
    for name in ("data", "images", "backup"):
        (tmp_path / name).mkdir()
    with pytest.raises(AssertionError, match="unable to open database file"):
        run_all("backup.yaml", tmp_path)
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["backup.yaml", "restore.yaml"])
def test_backup_and_restore_use_the_charts_claims_labels_and_user_ids(chart: Chart, name: str) -> None:
    rendered = chart.render()
    [spec] = pods(name)
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]}
    assert claims == set(rendered.all("PersistentVolumeClaim")) | SECRET_CLAIMS
    deployed = dict(rendered.pods())
    users = {deployed[f"penstock-{each}"]["securityContext"]["runAsUser"] for each in ("coordinator", "web")}
    containers = spec["containers"] + spec.get("initContainers", [])
    contexts = [spec["securityContext"], *(each["securityContext"] for each in containers)]
    groups = spec["securityContext"].get("supplementalGroups", [])
    assert users <= {context.get("runAsUser") for context in contexts} | set(groups)
    [web] = deployed["penstock-web"]["containers"]
    [store] = [mount["subPath"] for mount in web["volumeMounts"] if mount["name"] == "store"]
    assert store in [mount.get("subPath") for each in containers for mount in each["volumeMounts"]]


@pytest.mark.parametrize("name", ["backup.yaml", "restore.yaml", "oauth2-proxy.yaml"])
def test_examples_run_under_pod_security_restricted(name: str) -> None:
    for spec in pods(name):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_release_uses_the_secret_of_the_rabbitmq_cluster(chart: Chart) -> None:
    [cluster] = read("rabbitmq.yaml")
    [values] = read("values-rabbitmq.yaml")
    rendered = chart.render(values)
    url = rendered.environment("penstock-blur")["PENSTOCK_BROKER_URL"]["secretKeyRef"]
    assert url == {"name": f"{cluster['metadata']['name']}-default-user", "key": "connection_string"}
    assert not rendered.all("StatefulSet")


def test_the_proxy_leads_to_the_front_door(chart: Chart) -> None:
    config, *_ = read("oauth2-proxy.yaml")
    proxy = yaml.safe_load(config["data"]["proxy.yaml"])
    [upstream] = proxy["upstreamConfig"]["upstreams"]
    service = chart.render().find("Service", upstream["uri"].removeprefix("http://"))
    assert service["spec"]["ports"][0]["port"] == 80
