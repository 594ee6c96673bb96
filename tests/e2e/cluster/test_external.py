"""An installation from a registry with external PostgreSQL and S3, and two coordinators."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from batches import Inputs, Ledger
from installation import Installation
from kube import CHART, Namespace, Release, call, cluster
from measures import Report

from penstock import __version__

MANIFESTS = Path(__file__).parent / "manifests"
REGISTRY = "oci://localhost:5000/charts"
SERVERS: Mapping[str, Any] = {
    "coordinator": {"replicas": 2},
    "database": {"type": "postgresql", "existingSecret": {"name": "database"}},
    "store": {"type": "url", "url": "s3://penstock", "existingSecret": "bucket"},
}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The chart in a registry."""
    folder = tmp_path_factory.mktemp("chart")
    cluster("registry")
    call("helm", "package", str(CHART), "--destination", str(folder))
    call("helm", "push", str(folder / f"penstock-{__version__}.tgz"), REGISTRY, "--plain-http")
    return f"{REGISTRY}/penstock"


@pytest.fixture(scope="module")
def namespace(make_namespace: Callable[[str], Namespace]) -> Namespace:
    """A namespace with the external servers."""
    made = make_namespace("e2e-external")
    for server in ("postgres", "s3"):
        made.apply((MANIFESTS / f"{server}.yaml").read_text())
    for server in ("postgres", "s3"):
        made.kubectl("rollout", "status", f"deployment/{server}", "--timeout=60s")
    return made


@pytest.fixture(scope="module")
def external(chart: str, namespace: Namespace, values: Mapping[str, Any]) -> Installation:
    """The installation."""
    options = ["--plain-http", f"--version={__version__}"]
    release = Release(namespace, chart, options=options, values=copy.deepcopy(dict(values)))
    release.install(SERVERS)
    return Installation(release, "s3://penstock")


@pytest.fixture(autouse=True)
def credentials(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store settings with access to the bucket."""
    for name, value in namespace.secret("bucket").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{namespace.address('s3')}")


def find_leader(namespace: Namespace) -> str:
    """Return the pod of the leader."""
    ask = ["psql", "--username=postgres", "--tuples-only", "--no-align", "--command=SELECT holder FROM leadership"]
    holder = namespace.kubectl("exec", "deployment/postgres", "--", "env", "PGPASSWORD=tests", *ask)
    return holder.strip().rpartition(":")[0]


def test_nothing_is_lost_duplicated_or_wrong_when_the_leader_of_two_coordinators_is_deleted(
    external: Installation, inputs: Inputs, report: Report
) -> None:
    assert len(external.namespace.ready_pods("coordinator")) == 2

    def end_leader() -> None:
        leader = find_leader(external.namespace)
        external.namespace.kubectl("delete", "pod", leader, "--force", "--grace-period=0")

    final = Ledger(external, inputs).check(inputs.batch(), end_leader)
    report.survive("the leading of two coordinators deleted without grace (PostgreSQL, S3)", final)


def test_all_requests_are_answered_while_two_coordinators_are_replaced(external: Installation) -> None:
    before = {pod.name for pod in external.namespace.ready_pods("coordinator")}
    answers: list[int | str] = []
    replaced = threading.Event()

    def ask_all_the_time() -> None:
        while not replaced.is_set():
            try:
                answers.append(httpx.get(f"{external.url}/v1/jobs?limit=1", timeout=20).status_code)
            except httpx.HTTPError as error:
                answers.append(type(error).__name__)

    with ThreadPoolExecutor(1) as customer:
        asking = customer.submit(ask_all_the_time)
        try:
            external.namespace.kubectl("rollout", "restart", "deployment/penstock-coordinator")
            external.release.wait_until_ready()
            external.release.wait_for("coordinator", 2)
        finally:
            replaced.set()
        asking.result()
    assert before.isdisjoint(pod.name for pod in external.namespace.ready_pods("coordinator"))
    assert set(answers) == {200}
