"""Ledger of the jobs of an installation, audited like those of `make ledger`."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from audit import TERMINAL_JOBS, FinalState, Job, Submission, audit
from client import form
from installation import TIMEOUT_SECS, Installation
from kube import wait_for
from workload import Expected, JobSpec, calculate_expected, write_inputs

from penstock.local.sample_images import write_images

POLL_SECS = 0.5
QUIET_SECS = 45.0
FAULT_AT_IMAGES = 5
BATCH_IMAGES, SINGLE_IMAGES = 40, 16
ORIGINALS = 8
SLOW = [["resize", "768x576"], ["split", True], ["blur", "bilateral"], ["blur", "median"], ["blur", "bilateral"]]
"""About 0.13 s of blur per image."""


@dataclass
class Inputs:
    """Input files, and the results of `penstock run` for them, which are computed once."""

    originals: Sequence[Path]
    folder: Path
    _expected: dict[str, Expected] = field(default_factory=dict)

    def copies(self, name: str, count: int) -> list[Path]:
        """Return `count` files with distinct names, which link to the originals in turn."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        files = [folder / f"{index:04d}.jpg" for index in range(count)]
        for index, file in enumerate(files):
            if not file.exists():
                file.symlink_to(self.originals[index % len(self.originals)])
        return files

    @cached_property
    def bad(self) -> list[Path]:
        """Files that fail, one of each kind."""
        return write_inputs(self.folder / "bad", 1)[1:]

    def batch(self, count: int = BATCH_IMAGES) -> list[JobSpec]:
        """Return two jobs of some seconds: one with several images per chunk, one with one."""
        many = [*self.copies("many", count), *self.bad]
        return [JobSpec("many", SLOW, many), JobSpec("alone", SLOW, self.copies("alone", SINGLE_IMAGES), chunk_size=1)]

    def expect(self, spec: JobSpec) -> Expected:
        """Return the expected outcomes of a job's images: those of the originals that they link to."""
        originals = sorted({file.resolve() for file in spec.files})
        key = json.dumps([spec.operations, spec.output, [str(path) for path in originals]])
        if key not in self._expected:
            folder = self.folder / f"expected-{len(self._expected)}"
            folder.mkdir()
            self._expected[key] = calculate_expected(replace(spec, name="originals", files=originals), folder)
        return _of_copies(self._expected[key], spec.files)


def _of_copies(expected: Expected, files: Sequence[Path]) -> Expected:
    """Return the expected outcomes of files from those of their originals."""
    codes = {file.name: expected.codes[file.resolve().name] for file in files if file.resolve().name in expected.codes}
    results = {file.name: _rename(expected, file) for file in files if file.name not in codes}
    return Expected(results, codes)


def _rename(expected: Expected, file: Path) -> dict[str, str]:
    original = file.resolve()
    of_original = expected.results[original.name]
    return {file.stem + Path(name).name.removeprefix(original.stem): digest for name, digest in of_original.items()}


def make_inputs(folder: Path, photographs: Path) -> Inputs:
    """Return street photographs of 1024×768, or sample images of that size if there are none."""
    found = sorted((photographs / "street").glob("lund-*.jpg"))[:ORIGINALS]
    return Inputs(found or write_images(folder / "drawn", ORIGINALS, 1024, 768), folder)


@dataclass
class Ledger:
    """Jobs submitted to one installation since the ledger was created."""

    installation: Installation
    inputs: Inputs

    def __post_init__(self) -> None:
        self._submissions: dict[str, Submission] = {}
        self._before = {job["id"] for job in self.installation.jobs()}
        self._totals = Counter(self.installation.totals())

    def send(self, spec: JobSpec, expected: Expected | None = None) -> str:
        """Submit a job until it is accepted; return its id. `expected` defaults to the outcomes of `penstock run`."""
        submission = self._submissions.setdefault(spec.name, Submission(expected or self.inputs.expect(spec)))
        body, content_type = form(spec.document, spec.files)
        headers = {"Content_Type": content_type, "Idempotency_Key": f"{spec.name}-{time.time_ns()}"}

        def post() -> Any:
            submission.sent += 1
            answer = self.installation.client.try_request("POST", "/v1/jobs", body, **headers)
            return answer if answer is None or answer.status not in (409, 502, 504) else None

        answer = self.installation.client.poll(f"POST {spec.name}", post)
        assert answer.status in (200, 202), answer.body
        submission.acknowledged.add(answer.json["id"])
        return str(answer.json["id"])

    def check(self, specs: Sequence[JobSpec], meanwhile: Callable[[], object] | None = None) -> FinalState:
        """Submit jobs, call `meanwhile` while the first is running, then `finish`."""
        jobs = [self.send(spec) for spec in specs]
        if meanwhile is not None:
            wait_for("a running batch", lambda: self._done(jobs[0]) >= FAULT_AT_IMAGES, pause_secs=0.1)
            assert not self._has_ended(jobs[-1]), "the batch ended before the fault"
            meanwhile()
        return self.finish()

    def finish(self) -> FinalState:
        """Wait until all jobs have ended, and assert that the audit finds nothing; return the final state."""
        final = self._close()
        found = audit(final)
        assert found == {}, f"{found}\n{self.installation.logs()}"
        return final

    def _close(self) -> FinalState:
        stuck = self._wait_for_ends()
        shown = self.installation.jobs()
        leftovers, queues = self._wait_until_quiet(shown)
        jobs = [self._read_job(job["id"]) for job in shown if job["id"] not in self._before]
        return FinalState(self._submissions, jobs, self._totals, self.installation.totals(), leftovers, queues, stuck)

    def _done(self, job: str) -> int:
        counts = self.installation.ask(f"/v1/jobs/{job}")["images"]
        return int(counts["done"] + counts["failed"])

    def _has_ended(self, job: str) -> bool:
        return self.installation.ask(f"/v1/jobs/{job}")["state"] in TERMINAL_JOBS

    def _wait_for_ends(self) -> list[str]:
        """Wait for all jobs; return a line for each that did not end."""
        waiting = {job for submission in self._submissions.values() for job in submission.acknowledged}
        deadline = time.monotonic() + TIMEOUT_SECS
        while waiting and time.monotonic() < deadline:
            for job in sorted(waiting):
                answer = self.installation.client.try_request("GET", f"/v1/jobs/{job}")
                if answer is not None and answer.status == 200:
                    self._submissions[answer.json["name"]].observe(answer.json)
                    if answer.json["state"] in TERMINAL_JOBS:
                        waiting.discard(job)
            time.sleep(POLL_SECS)
        return [f"job {job} did not end" for job in sorted(waiting)]

    def _wait_until_quiet(self, jobs: Sequence[dict[str, Any]]) -> tuple[list[str], dict[str, int]]:
        """Wait until garbage is collected and queues are empty; return what remains."""
        deadline = time.monotonic() + QUIET_SECS
        while True:
            leftovers, queues = self.installation.leftovers(jobs), self.installation.messages()
            if not (leftovers or any(queues.values())) or time.monotonic() > deadline:
                return leftovers, queues
            time.sleep(POLL_SECS)

    def _read_job(self, job: str) -> Job:
        shown = self.installation.ask(f"/v1/jobs/{job}")
        images = self.installation.ask(f"/v1/jobs/{job}/images?limit=1000")["images"]
        with self.installation.rest() as door:
            manifest = list(door.results(job))
            stored = {key.rpartition("/")[2]: "" for key in self.installation.store.list(f"results/{job}")}
            stored |= {entry["name"]: sha256(door.fetch(entry["url"])) for entry in manifest}
        return Job(shown, images, manifest, stored)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes in hex."""
    return hashlib.sha256(content).hexdigest()
