"""InputSpool: a temporary table of a job's inputs, because their names are known only after the last one was found.

Names start below the deepest folder that has all inputs, and a result is named without the image's suffix only if no
other image could have a result of the same name. Sidecars may come before or after their images. A list of a million
images stays on disk until then.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Self

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.names import shorten, without_suffix
from penstock.coordinator.intake.file_names import folder_name, shown_key_part
from penstock.coordinator.intake.input_files import FoundFile

_ROWS_PER_INSERT = 4_096
_ALWAYS_SHORT = 59
"""Characters that fit into the bytes of a stem, whatever they are."""

_CREATE = "CREATE TABLE files (name TEXT, stem TEXT, ref TEXT, size INTEGER, regions TEXT)"
_CREATE_SIDECARS = "CREATE TABLE sidecars (name TEXT PRIMARY KEY, ref TEXT)"
_INSERT = "INSERT INTO files VALUES (?, ?, ?, ?, ?)"
_INSERT_SIDECAR = "INSERT OR IGNORE INTO sidecars VALUES (?, ?)"
_COLLISIONS = """
SELECT stem, count(*), max(times)
FROM (SELECT stem, count(*) AS times FROM files GROUP BY stem, name)
GROUP BY stem HAVING count(*) > 1 OR max(times) > 1
"""
_FILES = "SELECT name, stem, ref, size, regions FROM files ORDER BY rowid"
_SIDECAR = "SELECT ref FROM sidecars WHERE name IN (?, ?) ORDER BY length(name) DESC LIMIT 1"


class InputSpool:
    """Collects up to `max_files` inputs, then returns them with their names. A context manager."""

    def __init__(self, max_files: int) -> None:
        self._max_files = max_files
        self._count = 0
        self._sidecars = 0
        self._rows: list[tuple[str, str, str, int | None, str | None]] = []
        self._base: str | None = None
        self._last_folder: str | None = None
        # A file that SQLite creates once its cache is full, and that is gone when it is closed.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", _CREATE, _CREATE_SIDECARS, "BEGIN"):
            self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._database.close()

    def include_folder(self, folder: str) -> None:
        """Start names no deeper than in this folder (as `shown_folder` returns it)."""
        if self._base is None:
            self._base = folder
        while not folder.startswith(self._base):
            parent, slash, _ = self._base[:-1].rpartition("/")
            self._base = parent + slash

    def add(self, folder: str, name: str, ref: str, size_bytes: int | None = None, regions: str | None = None) -> None:
        """Add an input called `name` in a folder (as `shown_folder` returns it); `regions` as in `FoundFile`.

        Raises:
            RequestError: 422 for one too many.
            UnavailableError: the disk is full.
        """
        if folder != self._last_folder:
            self.include_folder(folder)
            self._last_folder = folder
        path = folder + name
        self._rows.append((path, without_suffix(path), ref, size_bytes, regions))
        self._count += 1
        self._check_count(self._count)
        if len(self._rows) == _ROWS_PER_INSERT:
            self._flush()

    def add_sidecar(self, folder: str, described: str, ref: str) -> None:
        """Add the sidecar of the image called `described`, with or without its suffix, in the same folder.

        Raises:
            RequestError: 422 for one too many.
            UnavailableError: the disk is full.
        """
        self._sidecars += 1
        self._check_count(self._sidecars)
        with _translate_errors():
            self._database.execute(_INSERT_SIDECAR, (folder + described, ref))

    def files(self) -> Iterator[FoundFile]:
        """Yield all inputs in the order they were added, none of them twice.

        Two different ones may still have the same name if it replaces characters, or if one has other regions than the
        other; the database refuses them.
        """
        self._flush()
        with _translate_errors():
            collisions = self._database.execute(_COLLISIONS).fetchall()
            shared = {stem for stem, names, _ in collisions if names > 1}
            repeated = {stem for stem, _, times in collisions if times > 1}
            seen: set[tuple[str, str, str | None]] = set()
            start = len(self._base or "")
            for name, stem, ref, size, regions in self._database.execute(_FILES):
                if stem in repeated:
                    if (name, ref, regions) in seen:
                        continue
                    seen.add((name, ref, regions))
                shown = (name if shared and _may_collide(stem, shared) else stem)[start:]
                short = shown if len(shown) <= _ALWAYS_SHORT else shorten(shown)
                yield FoundFile(name[start:], short, ref, size, regions or self._find_sidecar(name))

    def _find_sidecar(self, name: str) -> str | None:
        if not self._sidecars:
            return None
        found = self._database.execute(_SIDECAR, (name, without_suffix(name))).fetchone()
        return None if found is None else str(found[0])

    def _check_count(self, count: int) -> None:
        if count > (most := self._max_files):
            raise RequestError(422, "too_many_images", f"more than {most} images; accepted are {most} a job", "/inputs")

    def _flush(self) -> None:
        with _translate_errors():
            self._database.executemany(_INSERT, self._rows)
        self._rows.clear()


def _may_collide(stem: str, shared: set[str]) -> bool:
    """Return whether another image's result may be named after this stem.

    So it is if another name has the same stem, or if a name that keeps its suffix is equal to the stem. The latter
    needs a shared stem among what remains when more suffixes are removed.
    """
    while stem not in shared:
        shorter = without_suffix(stem)
        if shorter == stem:
            return False
        stem = shorter
    return True


@lru_cache(maxsize=1024)
def shown_folder(folder: str) -> str:
    """Return a folder of a bucket (`s3://photos/delft`) as the start of names: `s3/photos/delft/`."""
    scheme, _, path = folder.partition("://")
    parts = (shorten(shown_key_part(part)) for part in (scheme, *path.split("/")))
    return "".join(folder_name(part) for part in parts)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError("disk", f"the list of a job's images cannot be written to disk: {error}") from error
