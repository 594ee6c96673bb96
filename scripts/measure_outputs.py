"""Measure what one job with three outputs costs against three jobs with one, in CPU seconds of all processes.

    .venv/bin/python scripts/measure_outputs.py [--photos DIR] [--images 48] [--rounds 3]

The outputs are three sizes of photographs of 8 million pixels, which are drawn, or those of DIR scaled to that size:
each made of the image itself, or the smaller ones of the largest, which is shared. `penstock run` and servers in both
placements do one job, then three, in turn. CPU seconds are those of every process
of Penstock, so that the load of other programs does not matter; the medians are shown, and the bytes compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from cpu_time import adopt_orphans

from penstock.benchmark.bench.contestants import Workspace, run_server
from penstock.benchmark.bench.rabbitmq import cpu_secs
from penstock.benchmark.bench.workloads import ImageFolders, Workload
from penstock.client import Client

SHARED = [["resize", "longest:2048"]]
SIZES = {"thumb": [["resize", "longest:256"]], "medium": [["resize", "longest:1024"]], "large": SHARED}
SHARINGS: dict[str, list[Any]] = {"of the image": [], "of a shared resize": SHARED}
"""Operations that the outputs share."""
EIGHT_MPX = Workload("outputs", (3264, 2448), (), "jpg", 48)

Measured = tuple[float, dict[str, str]]
"""CPU seconds, and the SHA-256 of each result by its path."""
Measure = Callable[[Path, list[dict[str, Any]]], Measured]


def main() -> int:
    """Print a table; return 1 if bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photographs (default: drawn images)")
    parser.add_argument("--images", type=int, default=EIGHT_MPX.images, help="images of each job (default 48)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (default 3)")
    given = parser.parse_args()
    adopt_orphans()
    print("| placement | outputs are made | one job, CPU ms per image | three jobs | ratio |")
    print("| --- | --- | --- | --- | --- |")
    same = True
    with tempfile.TemporaryDirectory(prefix="penstock-outputs-") as folder, ExitStack() as stack:
        workspace = Workspace.create(Path(folder))
        inputs = ImageFolders(workspace.images, given.photos).folder(EIGHT_MPX, given.images)
        for placement in ("run", "fused", "per_step"):
            measure: Measure = partial(measure_run, workspace)
            if placement != "run":
                rest, pid = stack.enter_context(run_server(workspace, placement))
                measure = partial(measure_server, stack.enter_context(Client(rest.url)), pid)
                measure(inputs, one_job([]))  # its processes have then started, and its times are known
            for how, shared in SHARINGS.items():
                rounds = [
                    (measure(inputs, one_job(shared)), measure(inputs, three_jobs(shared))) for _ in range(given.rounds)
                ]
                same = same and all(one[1] == three[1] and len(one[1]) == 3 * given.images for one, three in rounds)
                one, three = (
                    1e3 * median(secs for secs, _ in each) / given.images for each in zip(*rounds, strict=True)
                )
                print(f"| {placement} | {how} | {one:.0f} | {three:.0f} | {three / one:.2f}× |", flush=True)
    if not same:
        print("the results differ")
    return 0 if same else 1


def one_job(shared: list[Any]) -> list[dict[str, Any]]:
    """Return the document of a job with three outputs."""
    outputs = [{"name": name, "operations": own(operations, shared)} for name, operations in SIZES.items()]
    return [{"operations": shared, "outputs": outputs}]


def three_jobs(shared: list[Any]) -> list[dict[str, Any]]:
    """Return the documents of three jobs with the same results."""
    return [{"operations": [*shared, *own(operations, shared)]} for operations in SIZES.values()]


def own(operations: list[Any], shared: list[Any]) -> list[Any]:
    """Return the operations of an output after the shared ones."""
    return [] if operations == shared else operations


def measure_run(workspace: Workspace, inputs: Path, documents: Sequence[dict[str, Any]]) -> Measured:
    """Do each job with `penstock run`."""
    found: dict[str, str] = {}
    before = ended_cpu_secs()
    for document, name in zip(documents, names(documents), strict=True):
        with tempfile.TemporaryDirectory(dir=workspace.work) as folder:
            job, out = Path(folder) / "job.json", Path(folder) / "out"
            job.write_text(json.dumps(document))
            command = [sys.executable, "-m", "penstock", "run", str(inputs), "--job", str(job), "--out", str(out)]
            subprocess.run([*command, "--json"], check=True, capture_output=True)  # noqa: S603 (our own)
            found |= {
                f"{name}{path.relative_to(out)}": hashlib.sha256(path.read_bytes()).hexdigest()
                for path in out.rglob("*.jpg")
            }
    return ended_cpu_secs() - before, found


def measure_server(client: Client, pid: int, inputs: Path, documents: Sequence[dict[str, Any]]) -> Measured:
    """Do each job on a server, one after the other."""
    found: dict[str, str] = {}
    before, jobs = cpu_secs(pid), []
    for document in documents:
        jobs.append(client.submit({**document, "inputs": [{"prefix": str(inputs)}]}).id)
        client.wait(jobs[-1])
    spent = cpu_secs(pid) - before
    for job, name in zip(jobs, names(documents), strict=True):
        found |= {f"{name}{result.name}": result.sha256 for result in client.results(job)}
        client.delete(job)
    return spent, found


def names(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield where each job's results are in a job with several outputs."""
    return (f"{name}/" if len(documents) > 1 else "" for name in [*SIZES][: len(documents)])


def ended_cpu_secs() -> float:
    """Wait until all descendants of this process have ended; return their CPU seconds."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0]:
            pass
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
