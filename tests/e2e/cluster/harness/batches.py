"""Batches through an installation, and the ledger of what became of them, audited as whole systems are at home."""

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

from audit import TERMINAL_JOBS, Entry, Job, World, audit
from client import form
from installation import PATIENCE_SECS, Installation
from kube import wait_for
from workload import Task, Wanted, draw, want

from penstock.local.sample_images import write_images

POLL_SECS = 0.5
QUIET_SECS = 45.0
STRUCK_AT_IMAGES = 5
BATCH_PHOTOS, LONELY_PHOTOS = 40, 16
ORIGINALS = 8
SLOW = [["resize", "768x576"], ["split", True], ["blur", "bilateral"], ["blur", "median"], ["blur", "bilateral"]]
"""About 0.13 s of blur an image."""


@dataclass
class Pictures:
    """What is sent, and what `penstock run` makes of it, which is found out once for each batch."""

    photos: Sequence[Path]
    folder: Path
    _wanted: dict[str, Wanted] = field(default_factory=dict)

    def copies(self, name: str, count: int) -> list[Path]:
        """Return so many files, the photographs in turn, under names of their own."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        files = [folder / f"{index:04d}.jpg" for index in range(count)]
        for index, file in enumerate(files):
            if not file.exists():
                file.symlink_to(self.photos[index % len(self.photos)])
        return files

    @cached_property
    def bad(self) -> list[Path]:
        """Files that cannot be processed, one of each kind."""
        return draw(self.folder / "bad", 1)[1:]

    def batch(self, photos: int = BATCH_PHOTOS) -> list[Task]:
        """Return two jobs that take some seconds: one in messages of several images, one in messages of one."""
        many = [*self.copies("many", photos), *self.bad]
        return [Task("many", SLOW, many), Task("alone", SLOW, self.copies("alone", LONELY_PHOTOS), chunk_size=1)]

    def want(self, task: Task) -> Wanted:
        """Return what has to become of a task's images: what becomes of the photographs that they are copies of."""
        originals = sorted({file.resolve() for file in task.files})
        key = json.dumps([task.operations, task.output, [str(path) for path in originals]])
        if key not in self._wanted:
            folder = self.folder / f"wanted-{len(self._wanted)}"
            folder.mkdir()
            self._wanted[key] = want(replace(task, name="originals", files=originals), folder)
        return _of_copies(self._wanted[key], task.files)


def _of_copies(wanted: Wanted, files: Sequence[Path]) -> Wanted:
    """Return what is wanted of files, by what is wanted of those that they are copies of."""
    codes = {file.name: wanted.codes[file.resolve().name] for file in files if file.resolve().name in wanted.codes}
    results = {file.name: _rename(wanted, file) for file in files if file.name not in codes}
    return Wanted(results, codes)


def _rename(wanted: Wanted, file: Path) -> dict[str, str]:
    original = file.resolve()
    of_original = wanted.results[original.name]
    return {file.stem + Path(name).name.removeprefix(original.stem): digest for name, digest in of_original.items()}


def make_pictures(folder: Path, photographs: Path) -> Pictures:
    """Return street photographs of 1024×768, or drawn pictures of that size where there are none."""
    found = sorted((photographs / "street").glob("lund-*.jpg"))[:ORIGINALS]
    return Pictures(found or write_images(folder / "drawn", ORIGINALS, 1024, 768), folder)


@dataclass
class Ledger:
    """What was asked of one installation since the ledger was begun."""

    installation: Installation
    pictures: Pictures

    def __post_init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._before = {job["id"] for job in self.installation.jobs()}
        self._totals = Counter(self.installation.totals())

    def send(self, task: Task, wanted: Wanted | None = None) -> str:
        """Send a job until it is acknowledged; return its id. `wanted`, if not what `penstock run` makes of it."""
        entry = self._entries.setdefault(task.name, Entry(wanted or self.pictures.want(task)))
        body, content_type = form(task.document, task.files)
        headers = {"Content_Type": content_type, "Idempotency_Key": f"{task.name}-{time.time_ns()}"}

        def post() -> Any:
            entry.sent += 1
            answer = self.installation.customer.once("POST", "/v1/jobs", body, **headers)
            return answer if answer is None or answer.status not in (409, 502, 504) else None

        answer = self.installation.customer.until(f"POST {task.name}", post)
        assert answer.status in (200, 202), answer.body
        entry.acknowledged.add(answer.json["id"])
        return str(answer.json["id"])

    def check(self, tasks: Sequence[Task], meanwhile: Callable[[], object] | None = None) -> World:
        """Send jobs; once the first is well under way, do something; then as `finish`."""
        jobs = [self.send(task) for task in tasks]
        if meanwhile is not None:
            wait_for("a batch under way", lambda: self._done(jobs[0]) >= STRUCK_AT_IMAGES, pause_secs=0.1)
            assert not self._has_ended(jobs[-1]), "the batch is over before anything could happen to it"
            meanwhile()
        return self.finish()

    def finish(self) -> World:
        """Wait until all is quiet, and make sure that nothing is found in the ledger; return what there is."""
        world = self._close()
        found = audit(world)
        assert found == {}, f"{found}\n{self.installation.logs()}"
        return world

    def _close(self) -> World:
        stuck = self._wait_for_ends()
        shown = self.installation.jobs()
        leftovers, queues = self._quieten(shown)
        jobs = [self._look(job["id"]) for job in shown if job["id"] not in self._before]
        return World(self._entries, jobs, self._totals, self.installation.totals(), leftovers, queues, stuck)

    def _done(self, job: str) -> int:
        counts = self.installation.ask(f"/v1/jobs/{job}")["images"]
        return int(counts["done"] + counts["failed"])

    def _has_ended(self, job: str) -> bool:
        return self.installation.ask(f"/v1/jobs/{job}")["state"] in TERMINAL_JOBS

    def _wait_for_ends(self) -> list[str]:
        """See every job to its end; return those that did not come to it."""
        waiting = {job for entry in self._entries.values() for job in entry.acknowledged}
        deadline = time.monotonic() + PATIENCE_SECS
        while waiting and time.monotonic() < deadline:
            for job in sorted(waiting):
                answer = self.installation.customer.once("GET", f"/v1/jobs/{job}")
                if answer is not None and answer.status == 200:
                    self._entries[answer.json["name"]].see(answer.json)
                    if answer.json["state"] in TERMINAL_JOBS:
                        waiting.discard(job)
            time.sleep(POLL_SECS)
        return [f"job {job} did not end" for job in sorted(waiting)]

    def _quieten(self, jobs: Sequence[dict[str, Any]]) -> tuple[list[str], dict[str, int]]:
        """Wait until sweeps have passed and queues are empty; return what is left over for all that."""
        deadline = time.monotonic() + QUIET_SECS
        while True:
            leftovers, queues = self.installation.leftovers(jobs), self.installation.messages()
            if not (leftovers or any(queues.values())) or time.monotonic() > deadline:
                return leftovers, queues
            time.sleep(POLL_SECS)

    def _look(self, job: str) -> Job:
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
