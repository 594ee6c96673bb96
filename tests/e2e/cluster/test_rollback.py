"""Replicas that were scaled by hand survive upgrades and rollbacks, with Helm 4 and with Helm 3.

No pod has to run: the namespace's images do not exist.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from kube import CommandError, Namespace, Release

STEP = "blur"
BY_HAND: dict[str, Any] = {"steps": {STEP: {"autoscaling": {"mode": "none"}}}}
HELMS = {"helm-4": "helm", "helm-3": os.environ.get("PENSTOCK_E2E_HELM3", "helm3")}


@pytest.fixture(params=HELMS)
def release(
    request: pytest.FixtureRequest,
    make_namespace: Callable[[str], Namespace],
) -> Release:
    """A release that was just installed by one of the programs."""
    helm = HELMS[request.param]
    if shutil.which(helm) is None:
        pytest.skip(f"{helm} is not installed")
    installed = Release(make_namespace("e2e-rollback"), helm=helm, values={"image": {"pullPolicy": "Never"}})
    installed.install(wait=False)
    return installed


def desired(release: Release, component: str = STEP) -> int:
    return int(release.namespace.get(f"deployment/{release.name}-{component}")["spec"]["replicas"])


def note(release: Release, text: str) -> None:
    """Change something else."""
    release.upgrade({"steps": {STEP: {"podAnnotations": {"example.com/note": text}}}}, wait=False)


def read_note(release: Release) -> str | None:
    template = release.namespace.get(f"deployment/{release.name}-{STEP}")["spec"]["template"]
    return template["metadata"]["annotations"].get("example.com/note")


def test_a_rollback_and_the_upgrade_after_it_keep_what_was_scaled_by_hand(release: Release) -> None:
    release.upgrade(BY_HAND, wait=False)
    release.scale(STEP, 4)
    note(release, "first")
    release.rollback()
    assert (desired(release), read_note(release)) == (4, None)
    note(release, "second")
    assert (desired(release), read_note(release)) == (4, "second")
    release.rollback(1)
    note(release, "third")
    assert desired(release) == 4


def test_a_component_that_was_stopped_by_hand_does_not_block_a_rollback(release: Release) -> None:
    for component in ("coordinator", "web"):
        release.scale(component, 0)
    note(release, "first")
    release.rollback()
    assert [desired(release, component) for component in ("coordinator", "web")] == [0, 0]


def test_replicas_that_values_set_are_kept_by_upgrades_until_values_change(release: Release) -> None:
    release.upgrade({"steps": {STEP: {"autoscaling": {"mode": "none"}, "replicas": 3}}}, wait=False)
    assert desired(release) == 3
    release.scale(STEP, 5)
    note(release, "first")
    assert desired(release) == 5
    if release.helm == "helm":  # it applies on the server, which knows that kubectl set the number
        with pytest.raises(CommandError, match=r"\.spec\.replicas"):
            release.upgrade({"steps": {STEP: {"replicas": 2}}}, wait=False)
