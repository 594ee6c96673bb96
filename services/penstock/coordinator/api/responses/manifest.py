"""Manifest: a job's results in the order of its images, read page by page from the database."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from pydantic_core import to_json

from penstock.common.model.jobs import ImageState
from penstock.common.model.messages import Result
from penstock.common.model.plan import plan_of
from penstock.common.store.base import Store
from penstock.coordinator.api.responses.zip_stream import Member
from penstock.coordinator.api.views import view_result
from penstock.coordinator.ports.repository import Job, Repository

_ROWS_AT_ONCE = 4_096
_ASSUMED_PARTS = 256
"""Results per image where its size determines how many there are."""


@dataclass(frozen=True)
class Entry:
    """One result, with its image's id and its index among the image's results."""

    image: int
    index: int
    result: Result


def images_at_once(job: Job, most: int, results: int = _ROWS_AT_ONCE) -> int:
    """Return how many images of a job to load at once, since each may have thousands of results."""
    return max(1, min(most, results // (plan_of(job.plan.operations).parts or _ASSUMED_PARTS)))


def entries(repository: Repository, job: Job, image: int = 0, index: int = 0, most: int = 500) -> Iterator[Entry]:
    """Yield a job's results so far, starting at a result, reading at most `most` images at a time."""
    limit = images_at_once(job, min(most, 500))
    while page := repository.list_images(job.id, state=ImageState.DONE, after=image - 1, limit=limit):
        for done in page:
            skipped = index if done.id == image else 0
            for place, result in enumerate(done.results[skipped:], start=skipped):
                yield Entry(done.id, place, result)
        image = page[-1].id + 1


def ndjson(job: Job, results: Iterator[Entry]) -> Iterator[bytes]:
    """Yield the manifest as lines of JSON, 500 at a time."""
    while batch := list(islice(results, 500)):
        lines = [to_json(view_result(job.id, entry.image, entry.result)) for entry in batch]
        yield b"\n".join(lines) + b"\n"


def members(store: Store, results: Iterable[Entry]) -> Iterator[Member]:
    """Yield results as members of a ZIP file."""
    for entry in results:
        result = entry.result
        yield Member(result.name, result.size, partial(store.stream, result.key))
