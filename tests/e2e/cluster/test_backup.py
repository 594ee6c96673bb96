"""A backup by the example's CronJob, and what its restore brings back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from batches import Inputs, Ledger, sha256
from installation import Installation
from kube import ROOT, wait_for
from workload import JobSpec

EXAMPLES = ROOT / "k8s" / "examples"
MINUTES = "--timeout=150s"


@pytest.fixture
def apply(main: Installation, tag: str) -> Iterator[Callable[[str], None]]:
    """Applies an example to the installation; everything is deleted afterwards."""
    applied = []

    def run(name: str) -> None:
        text = (EXAMPLES / name).read_text().replace("namespace: penstock", f"namespace: {main.namespace.name}")
        text = text.replace("ghcr.io/penstock/penstock-coordinator:0.1.0", f"local/penstock-coordinator:{tag}")
        applied.append(text.replace("storage: 100Gi", "storage: 1Gi"))
        main.namespace.apply(applied[-1])

    yield run
    main.namespace.kubectl("delete", "job", "first", "--ignore-not-found", "--wait")
    for text in reversed(applied):  # a claim stays until nothing uses it
        main.namespace.kubectl("delete", "--filename", "-", "--wait", stdin=text)


def read_results(main: Installation, job: str) -> dict[str, str]:
    """Return the checksum of each result of a job, as it is downloaded."""
    with main.rest() as door:
        return {result["name"]: sha256(door.fetch(result["url"])) for result in door.results(job)}


def job_ids(main: Installation) -> set[str]:
    return {str(job["id"]) for job in main.jobs()}


def test_a_restore_brings_back_the_jobs_and_results_of_the_backup(
    main: Installation, ledger: Ledger, inputs: Inputs, apply: Callable[[str], None]
) -> None:
    job = ledger.send(JobSpec("kept", [["resize", "512x512"]], inputs.copies("kept", 3)))
    ledger.finish()
    jobs, results = job_ids(main), read_results(main, job)
    apply("backup.yaml")
    main.namespace.kubectl("create", "job", "first", "--from=cronjob/penstock-backup")
    main.namespace.kubectl("wait", "--for=condition=Complete", "job/first", MINUTES, secs=180)
    ledger.check([JobSpec("later", [["resize", "256x256"]], inputs.copies("later", 1))])
    for key in main.store.list(f"results/{job}"):
        main.store.delete(key)

    for component in ("coordinator", "web"):
        main.release.scale(component, 0)
    wait_for("no pods", lambda: not any(main.namespace.pods(each) for each in ("coordinator", "web")))
    apply("restore.yaml")
    main.namespace.kubectl("wait", "--for=condition=Complete", "job/penstock-restore", MINUTES, secs=180)
    for component in ("coordinator", "web"):
        main.release.scale(component, 1)
    main.release.wait_until_ready()

    assert job_ids(main) == jobs
    restored: dict[str, Any] = read_results(main, job)
    assert restored == results
