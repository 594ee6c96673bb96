"""Groups of `penstock run`: the images that its manifest lists as done, put into groups once all have ended."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from penstock.common.model.groups import Groups, Member, group_source, write_member
from penstock.common.model.messages import Result
from penstock.common.model.plan import Plan
from penstock.local.inputs import InputFile, file_url
from penstock.local.manifest_lines import Listed

_LISTINGS = "work/groups"

# A file that SQLite creates once its cache is full, and that is gone when it is closed.
_CREATE = "CREATE TABLE images (digest TEXT PRIMARY KEY, number INTEGER, name TEXT, results TEXT) WITHOUT ROWID"
_ADD_IMAGE = "INSERT OR IGNORE INTO images VALUES (?, ?, ?, NULL)"
_ADD_RESULTS = "UPDATE images SET results = ? WHERE digest = ?"
_IMAGES = "SELECT number, name, results FROM images ORDER BY number, name"


class Group(NamedTuple):
    """A group as an image of the run. `source` is the one for messages; None if no image of it succeeded."""

    file: InputFile
    source: str | None


def find_groups(
    plan: Plan, out: Path, work: Path, files: Iterable[tuple[str, InputFile]], entries: Iterable[Listed]
) -> Iterator[Group]:
    """Yield the groups of a run, each with the listing of its images in the folder `work`.

    Args:
        files: all inputs, each with its digest.
        entries: the lines of the manifest.
    """
    groups = Groups(plan.by, plan.steps[plan.layout.size])
    database = sqlite3.connect("", isolation_level=None)
    try:
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", _CREATE, "BEGIN"):
            database.execute(statement)
        numbered = ((digest, groups.add(file.name, file.stem), file.name) for digest, file in files)
        database.executemany(_ADD_IMAGE, ((*each, _printable(name)) for *each, name in numbered))
        done = ((_results(listed), listed.entry.source) for listed in entries if listed.entry.state == "done")
        database.executemany(_ADD_RESULTS, done)
        rows = groupby(database.execute(_IMAGES), key=lambda row: row[0])
        for name, (number, images) in zip(groups.names(), rows, strict=True):
            succeeded = ((image, results) for _, image, results in images if results is not None)
            yield _make_group(name, f"{_LISTINGS}/{number}.jsonl", out, work, succeeded)
    finally:
        database.close()


def _make_group(name: str, key: str, out: Path, work: Path, images: Iterable[tuple[str, str]]) -> Group:
    digest, size = hashlib.blake2b(name.encode(), digest_size=8), 0
    path = work / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as listing:
        for image, text in images:
            listed: list[dict[str, Any]] = json.loads(text)
            results = [
                Result.model_validate({**each, "key": file_url(str((out / each["name"]).absolute()))})
                for each in listed
            ]
            listing.write(write_member(Member(name=image, results=results)))
            digest.update(json.dumps([image, [[each.name, each.sha256] for each in results]]).encode())
            size += 1
    # As a file: it changes if its images do.
    file = InputFile(f"group:{name}", name, name, size, int.from_bytes(digest.digest(), "big"))
    return Group(file, group_source(key) if size else None)


def _results(listed: Listed) -> str:
    return json.dumps([result.model_dump(mode="json", exclude={"mtime_ns"}) for result in listed.entry.results])


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
