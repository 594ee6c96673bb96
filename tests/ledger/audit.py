"""What was asked for, what was acknowledged, what is there after all is quiet; and what must not be among that.

Each check returns findings in words. Nothing may be found, whatever died meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workload import Wanted

from penstock.common.model.jobs import TERMINAL_IMAGE_STATES, TERMINAL_JOB_STATES, JobState

TERMINAL_JOBS = {state.value for state in TERMINAL_JOB_STATES}
TERMINAL_IMAGES = {state.value for state in TERMINAL_IMAGE_STATES}


@dataclass
class Entry:
    """One job that was asked for: how often it was sent, and the ids that were answered."""

    wanted: Wanted
    keyed: bool = True
    sent: int = 0
    acknowledged: set[str] = field(default_factory=set)
    cancelled: bool = False
    retried: bool = False
    deleted: bool = False
    states: dict[str, list[str]] = field(default_factory=dict)
    """Every state that was seen of each id, in order, each run of a retried job apart."""

    def see(self, job: Mapping[str, Any]) -> None:
        """Write down a state that was seen."""
        seen = self.states.setdefault(f"{job['id']}/{job['run']}", [])
        if seen[-1:] != [job["state"]]:
            seen.append(job["state"])


@dataclass
class Job:
    """One job as it is in the end. `stored` is the SHA-256 of each file that lies among its results, by name."""

    shown: dict[str, Any]
    images: list[dict[str, Any]]
    manifest: list[dict[str, Any]]
    stored: dict[str, str]

    @property
    def name(self) -> str:
        """The name it was sent with."""
        return str(self.shown["name"])

    @property
    def id(self) -> str:
        """What Penstock calls it."""
        return str(self.shown["id"])


@dataclass
class World:
    """All that there is after everything is quiet."""

    entries: Mapping[str, Entry]
    jobs: Sequence[Job]
    ended_before: Counter[str] = field(default_factory=Counter)
    """Ends, by outcome, of images that were retried or deleted since."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """`penstock_images_total` by outcome."""
    leftovers: Sequence[str] = ()
    """Objects and rows that nobody needs."""
    queues: Mapping[str, int] = field(default_factory=dict)
    """Messages by queue, once every process has left."""
    stuck: Sequence[str] = ()
    """What did not come about in time."""


def lost(world: World) -> Iterator[str]:
    """Acknowledged jobs that are not there, and images of which nobody knows anything."""
    there = {job.id for job in world.jobs}
    for name, entry in world.entries.items():
        if not entry.deleted:
            yield from (f"job {name} {job} was acknowledged and is not there" for job in entry.acknowledged - there)
    for job, wanted in _asked_for(world):
        missing = wanted.images - {image["name"] for image in job.images}
        yield from (f"{job.name}: image {name} is not listed" for name in sorted(missing))


def unexpected(world: World) -> Iterator[str]:
    """Jobs, images and results that nobody asked for."""
    for job in world.jobs:
        entry = world.entries.get(job.name)
        if entry is None or entry.deleted:
            yield f"job {job.name} {job.id} is there"
            continue
        images = {image["name"] for image in job.images}
        yield from (f"{job.name}: image {name} is listed" for name in sorted(images - entry.wanted.images))
        results = {name for of_image in entry.wanted.results.values() for name in of_image}
        listed = {result["name"] for result in job.manifest}
        yield from (f"{job.name}: result {name} is listed" for name in sorted(listed - results))
        yield from (f"{job.name}: file {name} is stored" for name in sorted(set(job.stored) - listed))


def doubled(world: World) -> Iterator[str]:
    """Whatever happened twice and can be seen: jobs, images, results, and ends of images and jobs."""
    for name, entry in world.entries.items():
        count = sum(job.name == name for job in world.jobs)
        most = 1 if entry.keyed else entry.sent
        if count > most or len(entry.acknowledged) > most:
            yield f"job {name} is there {count} times, was acknowledged as {sorted(entry.acknowledged)}"
        for states in entry.states.values():
            if any(state in TERMINAL_JOBS for state in states[:-1]):
                yield f"job {name} did not stay as it ended: {states}"
    for job in world.jobs:
        yield from _repeated(job, "image", [image["name"] for image in job.images])
        yield from _repeated(job, "result", [result["name"] for result in job.manifest])
        counted = Counter(image["state"] for image in job.images) + Counter(total=len(job.images))
        shown = Counter(job.shown["images"])
        if counted != +shown:
            yield f"{job.name}: the job counts {dict(+shown)}, its images are {dict(counted)}"


def wrong_bytes(world: World) -> Iterator[str]:
    """Results that differ from those of `penstock run`, or from what their manifest says."""
    for job, wanted in _asked_for(world):
        right = {name: digest for of_image in wanted.results.values() for name, digest in of_image.items()}
        for result in job.manifest:
            name = result["name"]
            if result["sha256"] != right.get(name, result["sha256"]):
                yield f"{job.name}: {name} is not what one host makes of it"
            if job.stored.get(name) != result["sha256"]:
                yield f"{job.name}: {name} is stored as {job.stored.get(name, 'nothing')[:8]}, not as its manifest says"
    for job in world.jobs:
        listed = {result["name"] for result in job.manifest}
        of_images = {result["name"] for image in job.images for result in image["results"]}
        if listed != of_images:
            yield f"{job.name}: manifest and images differ in {sorted(listed ^ of_images)}"


def wrong_outcome(world: World) -> Iterator[str]:
    """Images and jobs that ended otherwise than they had to."""
    for job, wanted in _asked_for(world):
        for image in job.images:
            if image["state"] in TERMINAL_IMAGES and not _ended_well(image, wanted, job.shown["state"]):
                yield f"{job.name}: {image['name']} ended {image['state']}, {image['error']}, {len(image['results'])}"
        right = _state_of(job, world.entries[job.name])
        if job.shown["state"] in TERMINAL_JOBS and job.shown["state"] != right:
            yield f"{job.name} ended {job.shown['state']} and had to end {right}"


def unresolved(world: World) -> Iterator[str]:
    """What has not come to an end."""
    yield from world.stuck
    for job in world.jobs:
        if job.shown["state"] not in TERMINAL_JOBS:
            yield f"job {job.name} is {job.shown['state']}: {job.shown['images']}"
        for image in job.images:
            if image["state"] not in TERMINAL_IMAGES:
                yield f"{job.name}: {image['name']} is {image['state']}"


def left_over(world: World) -> Iterator[str]:
    """Objects and rows without a job that needs them, and messages, dead letters among them."""
    yield from world.leftovers
    yield from (f"{count} messages in {queue}" for queue, count in world.queues.items() if count)


def miscounted(world: World) -> Iterator[str]:
    """Totals that are not those of the rows."""
    rows = Counter(world.ended_before)
    for job in world.jobs:
        rows.update(image["error"]["code"] if image["error"] else image["state"] for image in job.images)
    told = Counter(world.totals)
    if +rows != +told:
        yield f"metrics say {dict(+told)}, the rows {dict(+rows)}"


CHECKS: Mapping[str, Callable[[World], Iterator[str]]] = {
    "lost": lost,
    "unexpected": unexpected,
    "doubled": doubled,
    "wrong bytes": wrong_bytes,
    "wrong outcome": wrong_outcome,
    "unresolved": unresolved,
    "left over": left_over,
    "miscounted": miscounted,
}


def audit(world: World) -> dict[str, list[str]]:
    """Return what each check finds, of those that find anything."""
    found = {name: list(check(world)) for name, check in CHECKS.items()}
    return {name: findings for name, findings in found.items() if findings}


def _asked_for(world: World) -> Iterator[tuple[Job, Wanted]]:
    for job in world.jobs:
        if job.name in world.entries:
            yield job, world.entries[job.name].wanted


def _repeated(job: Job, what: str, names: Sequence[str]) -> Iterator[str]:
    yield from (f"{job.name}: {what} {name} is there {n} times" for name, n in Counter(names).items() if n > 1)


def _ended_well(image: Mapping[str, Any], wanted: Wanted, state: str) -> bool:
    name = image["name"]
    if image["state"] == "cancelled":
        return state == JobState.CANCELLED and not image["results"]
    if image["state"] == "failed":
        return image["error"]["code"] == wanted.codes.get(name) and not image["results"]
    return image["error"] is None and {result["name"] for result in image["results"]} == set(
        wanted.results.get(name, {"": ""})
    )


def _state_of(job: Job, entry: Entry) -> str:
    """Return how a job whose images ended as they did has to have ended."""
    if entry.cancelled:
        return JobState.CANCELLED.value
    states = {image["state"] for image in job.images}
    if states == {"done"}:
        return JobState.SUCCEEDED.value
    return JobState.PARTIAL.value if "done" in states else JobState.FAILED.value
