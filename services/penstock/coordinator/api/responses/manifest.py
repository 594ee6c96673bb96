"""Manifest: a job's results in the order of its images, read page by page from the database.

It is written as lines of JSON, as CSV for spreadsheets, or as GeoJSON for maps (RFC 7946).
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple

from pydantic_core import to_json

from penstock.common.model.jobs import ImageState
from penstock.common.model.messages import Result
from penstock.common.store.base import Store
from penstock.coordinator.api.paging import write_cursor
from penstock.coordinator.api.responses.zip_stream import Member
from penstock.coordinator.api.views import view_result
from penstock.coordinator.ports.repository import Image, Job, Repository

_PAGE_BYTES = 1024 * 1024
"""Size from which a page of results is full, since each result may have many regions."""
_BLOCK_BYTES = 256 * 1024
_IMAGES_AT_ONCE = 500


@dataclass(frozen=True)
class Entry:
    """One result, with its image's id and name, and its index among the image's results."""

    image: int
    source: str
    index: int
    result: Result


def first_after(
    repository: Repository, job: Job, page: Sequence[Image], state: ImageState | None = None, code: str | None = None
) -> str | None:
    """Return the cursor of the page of images after this one; None if this is the last one."""
    if not page:
        return None
    following = repository.list_images(job.id, state=state, code=code, after=page[-1].id, limit=1)
    return write_cursor(following[0].id) if following else None


def entries(
    repository: Repository, job: Job, image: int = 0, index: int = 0, most: int = _IMAGES_AT_ONCE
) -> Iterator[Entry]:
    """Yield a job's results so far, starting at a result, reading at most `most` images at a time."""
    limit = min(most, _IMAGES_AT_ONCE)
    while page := repository.list_images(job.id, state=ImageState.DONE, after=image - 1, limit=limit):
        for done in page:
            skipped = index if done.id == image else 0
            for place, result in enumerate(done.results[skipped:], start=skipped):
                yield Entry(done.id, done.name, place, result)
        image, index = page[-1].id + 1, 0


def chosen_entries(repository: Repository, job: Job, images: Sequence[int]) -> Iterator[Entry]:
    """Yield the results so far of some of a job's images, in their order."""
    for image in sorted(set(images)):
        found = repository.get_image(job.id, image)
        if found is not None and found.state is ImageState.DONE:
            for place, result in enumerate(found.results):
                yield Entry(found.id, found.name, place, result)


def take_page(results: Iterator[Entry], limit: int, show: Callable[[Entry], bytes]) -> tuple[list[bytes], Entry | None]:
    """Return up to `limit` results as they are shown, fewer if they are large, and the first of the next page."""
    page: list[bytes] = []
    size_bytes = 0
    for entry in results:
        if len(page) == limit or size_bytes >= _PAGE_BYTES:
            return page, entry
        page.append(show(entry))
        size_bytes += len(page[-1])
    return page, None


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines joined to blocks of at least 256 KiB."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def ndjson(job: Job, results: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the manifest as lines of JSON."""
    return _blocks(to_json(view_result(job.id, entry.image, entry.result)) + b"\n" for entry in results)


def as_csv(job: Job, results: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the manifest as CSV (RFC 4180) with a header; warnings are separated by spaces.

    Spreadsheets would run a name that begins like a formula; it gets an apostrophe before it.
    """
    return _blocks(map(_csv_line, chain([_COLUMNS], (_row(job, entry) for entry in results))))


def _csv_line(row: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return text.getvalue().encode()


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - as spreadsheets read them


def _escape_formula(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


_PLACE = ("longitude", "latitude", "altitude", "heading")
_FIELDS = ("image", "source", "name", "size", "media_type", "width", "height", "sha256", "url", "location")
_COLUMNS = (*_FIELDS, *_PLACE, "warnings")


def _row(job: Job, entry: Entry) -> tuple[Any, ...]:
    described = _describe(job, entry)
    place = described.get("place", {})
    fields = (_escape_formula(described[name]) for name in _FIELDS)
    return (*fields, *map(place.get, _PLACE), " ".join(described.get("warnings", ())))


def geojson(job: Job, results: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the manifest as a collection of GeoJSON features; those of unknown places have no point."""
    yield b'{"type":"FeatureCollection","features":['
    separators = chain([b"\n"], repeat(b",\n"))
    yield from _blocks(
        separator + to_json(_feature(job, entry)) for separator, entry in zip(separators, results, strict=False)
    )
    yield b"\n]}\n"


def _feature(job: Job, entry: Entry) -> dict[str, Any]:
    properties = _describe(job, entry)
    place = properties.pop("place", None)
    if place is None:
        return {"type": "Feature", "geometry": None, "properties": properties}
    point = [place[name] for name in _PLACE[:3] if name in place]
    if "heading" in place:
        properties["heading"] = place["heading"]
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": point}, "properties": properties}


def _describe(job: Job, entry: Entry) -> dict[str, Any]:
    """Return a result as the manifest has it, with the name of its image."""
    return {**view_result(job.id, entry.image, entry.result), "source": entry.source}


class Form(NamedTuple):
    """A form of the manifest: its media type, what writes it, and the JSON type of the whole if it is one document."""

    media_type: str
    write: Callable[[Job, Iterator[Entry]], Iterator[bytes]]
    json_type: str = "string"


FORMS = {
    "ndjson": Form("application/x-ndjson", ndjson),
    "csv": Form("text/csv", as_csv),
    "geojson": Form("application/geo+json", geojson, "object"),
}
"""The forms of the manifest; their names are also the suffixes of its files."""


def members(store: Store, results: Iterable[Entry]) -> Iterator[Member]:
    """Yield results as members of a ZIP file."""
    for entry in results:
        result = entry.result
        yield Member(result.name, result.size, partial(store.stream, result.key))
