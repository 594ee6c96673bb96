"""An installation with API keys, the chart's default."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from kube import Namespace, Release, call
from waiting import wait_until

from penstock.client import Client
from penstock.coordinator.auth.keys import hash_token, make_key

SECRET = "penstock-api-key"


@pytest.fixture(scope="module")
def release(make_namespace: Callable[[str], Namespace], values: Mapping[str, Any]) -> Release:
    """A small installation with a generated key."""
    made = Release(make_namespace("e2e-keys"), values=copy.deepcopy(dict(values)))
    made.install({"apiKeys": {"enabled": True}, "placement": "fused"})
    return made


@pytest.fixture(scope="module")
def front(release: Release) -> str:
    """The URL of the web service."""
    return f"http://{release.namespace.address('penstock-web').removesuffix(':80')}"  # as browsers normalize it


@pytest.fixture
def key(release: Release) -> str:
    """The key, read by the command of the notes."""
    notes = call("helm", "--namespace", release.namespace.name, "get", "notes", release.name)
    command = next(line.strip() for line in notes.splitlines() if "base64 -d" in line)
    script = f'{command}; printf %s "$PENSTOCK_API_KEY"'
    read = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return read.stdout


def ask(url: str, key: str = "") -> int:
    """Return the status of a response."""
    return httpx.get(url, headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=20).status_code


def test_only_the_key_of_the_notes_gives_access(release: Release, front: str, key: str) -> None:
    assert len(key) == len("pk_") + 43
    assert (ask(f"{front}/v1/jobs"), ask(f"{front}/v1/jobs", key + "x"), ask(f"{front}/v1/jobs", key)) == (
        401,
        401,
        200,
    )
    (pod,) = release.namespace.ready_pods("coordinator")
    found = release.namespace.kubectl("exec", pod.name, "--", "sh", "-c", "cat /etc/penstock/*; env; ls /etc/penstock")
    assert hash_token(key) in found
    assert key not in found


def test_autoscalers_and_prometheus_need_no_key_inside_the_cluster(release: Release, front: str, key: str) -> None:
    inside = f"http://{release.namespace.address('penstock-coordinator')}"
    for path in ("/metrics", "/v1/backlog?steps=blur"):
        assert (ask(f"{inside}{path}"), ask(f"{front}{path}"), ask(f"{front}{path}", key)) == (200, 401, 200)
    assert ask(f"{inside}/v1/jobs") == 401


def test_helm_test_uses_the_key(release: Release) -> None:
    assert "succeeded" in release.test().lower()


def test_an_upgrade_keeps_the_key_and_adds_others(release: Release, front: str, key: str) -> None:
    token, entry = make_key("delft")
    entries = json.dumps([entry.model_dump(exclude_defaults=True)])
    release.upgrade({"settings": {"PENSTOCK_API_KEYS": entries}})
    assert release.namespace.secret(SECRET)["key"] == key
    wait_until(lambda: ask(f"{front}/session", token) == 200)
    with Client(front, api_key=token) as delft, Client(front, api_key=key) as admin:
        upload = delft.begin_upload()
        assert ask(f"{front}{upload.url}", token) == ask(f"{front}{upload.url}", key) == 200
        assert list(delft.jobs()) == list(admin.jobs()) == []


def test_a_browser_can_log_in(front: str, key: str) -> None:
    with httpx.Client(base_url=front, timeout=20) as browser:
        assert browser.get("/").status_code == 200
        assert browser.post("/session", json={"key": key}, headers={"Origin": front}).json()["name"] == "admin"
        assert browser.get("/v1/jobs").status_code == 200
        assert browser.post("/v1/uploads").status_code == 403
        assert browser.post("/v1/uploads", headers={"Origin": front}).status_code == 201
