"""Audit: compares what was submitted and acknowledged with the final state of a system.

Each check yields its findings as text. There must be none, whatever fault was injected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workload import Expected

from penstock.common.model.jobs import TERMINAL_IMAGE_STATES, TERMINAL_JOB_STATES, JobState

TERMINAL_JOBS = {state.value for state in TERMINAL_JOB_STATES}
TERMINAL_IMAGES = {state.value for state in TERMINAL_IMAGE_STATES}


@dataclass
class Submission:
    """One submitted job: how often it was sent, and the ids in the responses."""

    expected: Expected
    idempotent: bool = True
    sent: int = 0
    acknowledged: set[str] = field(default_factory=set)
    cancelled: bool = False
    retried: bool = False
    deleted: bool = False
    states: dict[str, list[str]] = field(default_factory=dict)
    """Every observed state, in order, by id and run."""

    def observe(self, job: Mapping[str, Any]) -> None:
        """Record the state of a job."""
        seen = self.states.setdefault(f"{job['id']}/{job['run']}", [])
        if seen[-1:] != [job["state"]]:
            seen.append(job["state"])


@dataclass
class Job:
    """The final state of a job. `stored` has the SHA-256 of each stored result file, by name."""

    document: dict[str, Any]
    images: list[dict[str, Any]]
    manifest: list[dict[str, Any]]
    stored: dict[str, str]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.document["name"])

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.document["id"])


@dataclass
class FinalState:
    """The state of a system after all jobs have ended."""

    submissions: Mapping[str, Submission]
    jobs: Sequence[Job]
    ended_before: Counter[str] = field(default_factory=Counter)
    """Outcomes of images that were retried or deleted later."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """`penstock_images_total` by outcome."""
    leftovers: Sequence[str] = ()
    """Objects and rows that no job needs."""
    queues: Mapping[str, int] = field(default_factory=dict)
    """Messages by queue, after all processes have stopped."""
    stuck: Sequence[str] = ()
    """What did not happen in time."""


def lost(final: FinalState) -> Iterator[str]:
    """Acknowledged jobs and images that are missing."""
    there = {job.id for job in final.jobs}
    for name, submission in final.submissions.items():
        if not submission.deleted:
            yield from (f"job {name} {job} was acknowledged and is missing" for job in submission.acknowledged - there)
    for job, expected in _submitted(final):
        missing = expected.images - {image["name"] for image in job.images}
        yield from (f"{job.name}: image {name} is not listed" for name in sorted(missing))


def unexpected(final: FinalState) -> Iterator[str]:
    """Jobs, images and results that were not submitted."""
    for job in final.jobs:
        submission = final.submissions.get(job.name)
        if submission is None or submission.deleted:
            yield f"job {job.name} {job.id} exists"
            continue
        images = {image["name"] for image in job.images}
        yield from (f"{job.name}: image {name} is listed" for name in sorted(images - submission.expected.images))
        results = {name for of_image in submission.expected.results.values() for name in of_image}
        listed = {result["name"] for result in job.manifest}
        yield from (f"{job.name}: result {name} is listed" for name in sorted(listed - results))
        yield from (f"{job.name}: file {name} is stored" for name in sorted(set(job.stored) - listed))


def doubled(final: FinalState) -> Iterator[str]:
    """Duplicates: jobs, images, results, and ends of images and jobs."""
    for name, submission in final.submissions.items():
        count = sum(job.name == name for job in final.jobs)
        most = 1 if submission.idempotent else submission.sent
        if count > most or len(submission.acknowledged) > most:
            yield f"job {name} exists {count} times, acknowledged as {sorted(submission.acknowledged)}"
        for states in submission.states.values():
            if any(state in TERMINAL_JOBS for state in states[:-1]):
                yield f"job {name} changed after it had ended: {states}"
    for job in final.jobs:
        yield from _repeated(job, "image", [image["name"] for image in job.images])
        yield from _repeated(job, "result", [result["name"] for result in job.manifest])
        counted = Counter(image["state"] for image in job.images) + Counter(total=len(job.images))
        document = Counter(job.document["images"])
        if counted != +document:
            yield f"{job.name}: the job counts {dict(+document)}, but its images are {dict(counted)}"


def wrong_bytes(final: FinalState) -> Iterator[str]:
    """Results that differ from those of `penstock run`, or from their manifest."""
    for job, expected in _submitted(final):
        right = {name: digest for of_image in expected.results.values() for name, digest in of_image.items()}
        for result in job.manifest:
            name = result["name"]
            if result["sha256"] != right.get(name, result["sha256"]):
                yield f"{job.name}: {name} differs from the result of penstock run"
            if job.stored.get(name) != result["sha256"]:
                yield f"{job.name}: {name} is stored as {job.stored.get(name, 'nothing')[:8]}, unlike its manifest"
    for job in final.jobs:
        listed = {result["name"] for result in job.manifest}
        of_images = {result["name"] for image in job.images for result in image["results"]}
        if listed != of_images:
            yield f"{job.name}: manifest and images differ in {sorted(listed ^ of_images)}"


def wrong_outcome(final: FinalState) -> Iterator[str]:
    """Images and jobs with an unexpected outcome."""
    for job, expected in _submitted(final):
        for image in job.images:
            if image["state"] in TERMINAL_IMAGES and not _ended_well(image, expected, job.document["state"]):
                yield f"{job.name}: {image['name']} ended {image['state']}, {image['error']}, {len(image['results'])}"
        right = _finalof(job, final.submissions[job.name])
        if job.document["state"] in TERMINAL_JOBS and job.document["state"] != right:
            yield f"{job.name} ended {job.document['state']} instead of {right}"


def unresolved(final: FinalState) -> Iterator[str]:
    """Jobs and images that have not ended."""
    yield from final.stuck
    for job in final.jobs:
        if job.document["state"] not in TERMINAL_JOBS:
            yield f"job {job.name} is {job.document['state']}: {job.document['images']}"
        for image in job.images:
            if image["state"] not in TERMINAL_IMAGES:
                yield f"{job.name}: {image['name']} is {image['state']}"


def leftover(final: FinalState) -> Iterator[str]:
    """Objects and rows that no job needs, and messages, including dead letters."""
    yield from final.leftovers
    yield from (f"{count} messages in {queue}" for queue, count in final.queues.items() if count)


def miscounted(final: FinalState) -> Iterator[str]:
    """Metrics that differ from the rows."""
    rows = Counter(final.ended_before)
    for job in final.jobs:
        rows.update(image["error"]["code"] if image["error"] else image["state"] for image in job.images)
    metrics = Counter(final.totals)
    if +rows != +metrics:
        yield f"the metrics have {dict(+metrics)}, the rows {dict(+rows)}"


CHECKS: Mapping[str, Callable[[FinalState], Iterator[str]]] = {
    "lost": lost,
    "unexpected": unexpected,
    "doubled": doubled,
    "wrong bytes": wrong_bytes,
    "wrong outcome": wrong_outcome,
    "unresolved": unresolved,
    "left over": leftover,
    "miscounted": miscounted,
}


def audit(final: FinalState) -> dict[str, list[str]]:
    """Return the findings of each check that has any."""
    found = {name: list(check(final)) for name, check in CHECKS.items()}
    return {name: findings for name, findings in found.items() if findings}


def _submitted(final: FinalState) -> Iterator[tuple[Job, Expected]]:
    for job in final.jobs:
        if job.name in final.submissions:
            yield job, final.submissions[job.name].expected


def _repeated(job: Job, what: str, names: Sequence[str]) -> Iterator[str]:
    yield from (f"{job.name}: {what} {name} exists {n} times" for name, n in Counter(names).items() if n > 1)


def _ended_well(image: Mapping[str, Any], expected: Expected, state: str) -> bool:
    name = image["name"]
    if image["state"] == "cancelled":
        return state == JobState.CANCELLED and not image["results"]
    if image["state"] == "failed":
        return image["error"]["code"] == expected.codes.get(name) and not image["results"]
    return image["error"] is None and {result["name"] for result in image["results"]} == set(
        expected.results.get(name, {"": ""})
    )


def _finalof(job: Job, submission: Submission) -> str:
    """Return the expected state of a job, given the states of its images."""
    if submission.cancelled:
        return JobState.CANCELLED.value
    states = {image["state"] for image in job.images}
    if states == {"done"}:
        return JobState.SUCCEEDED.value
    return JobState.PARTIAL.value if "done" in states else JobState.FAILED.value
