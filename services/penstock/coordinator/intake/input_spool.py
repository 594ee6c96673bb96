"""InputSpool: a temporary table of a job's inputs, because their names are known only after the last one was found.

Names start below the deepest folder that has all inputs. Names that are the same are numbered, and a result is named
without the image's suffix only if no other image could have a result of the same name, as `unique_stems` does it for a
short list. Sidecars may come before or after their images. A list of a million images stays on disk until then.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Self

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.names import Numbering, Stems, fold, folder_name, shorten, without_suffix
from penstock.common.model.result_names import ResultNames
from penstock.coordinator.intake.file_names import shown_key_part
from penstock.coordinator.intake.input_files import FoundFile

_ROWS_PER_INSERT = 4_096
_BYTES_PER_CHARACTER = 4

# `stem` and `suffix` are folded.
_CREATE = "CREATE TABLE files (name TEXT, stem TEXT, suffix TEXT, ref TEXT, size INTEGER, regions TEXT)"
_CREATE_SIDECARS = "CREATE TABLE sidecars (name TEXT PRIMARY KEY, ref TEXT)"
_INSERT = "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_SIDECAR = "INSERT OR IGNORE INTO sidecars VALUES (?, ?)"
_COLLISIONS = """
SELECT stem, count(*), max(times)
FROM (SELECT stem, count(*) AS times FROM files GROUP BY stem, suffix)
GROUP BY stem HAVING count(*) > 1 OR max(times) > 1
"""
_INDEX = "CREATE INDEX files_by_stem ON files (stem, suffix)"
_FIND = "SELECT 1 FROM files WHERE stem = ? OR (stem = ? AND suffix = ?) LIMIT 1"
_FILES = "SELECT name, stem, suffix, ref, size, regions FROM files ORDER BY rowid"
_SIDECAR = "SELECT ref FROM sidecars WHERE name IN (?, ?) ORDER BY length(name) DESC LIMIT 1"


class InputSpool:
    """Collects up to `max_files` inputs, then returns them with their names, and stems for `results`.

    A context manager.
    """

    def __init__(self, max_files: int, results: ResultNames) -> None:
        self._max_files = max_files
        self._results = results
        self._count = 0
        self._sidecars = 0
        self._rows: list[tuple[str, str, str, str, int | None, str | None]] = []
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
        key = fold(path)
        stem = without_suffix(key)
        self._rows.append((path, stem, key[len(stem) :], ref, size_bytes, regions))
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
        """Yield all inputs in the order they were added, none of them twice."""
        self._flush()
        with _translate_errors():
            collisions = self._database.execute(_COLLISIONS).fetchall()
            shared = {stem for stem, names, _ in collisions if names > 1}
            repeated = {stem for stem, _, times in collisions if times > 1}
            is_taken = lru_cache(maxsize=1024)(self._is_taken)
            numbering = Numbering(is_taken)
            stems = Stems(shared, numbering, is_taken if self._results.part_may_be_added else None)
            if repeated or self._results.part_may_be_added:
                self._database.execute(_INDEX)
            max_bytes, start = self._results.max_stem_bytes, len(self._base or "")
            always_short = max_bytes // _BYTES_PER_CHARACTER
            for name, key, ref, size, regions in self._distinct(repeated, numbering):
                stem = stems.choose(name, key)[start:]
                if len(stem) > always_short:
                    stem = shorten(stem, max_bytes)
                yield FoundFile(name[start:], stem, ref, size, regions)

    def _distinct(
        self, repeated: set[str], numbering: Numbering
    ) -> Iterator[tuple[str, str, str, int | None, str | None]]:
        """Yield every file once: a name that no other has, its folded stem, URL, size and regions."""
        seen: set[tuple[str, str, str | None]] = set()
        first: set[str] = set()
        for name, stem, suffix, ref, size, regions in self._database.execute(_FILES):
            regions = regions or self._find_sidecar(name)
            if stem in repeated:
                if (name, ref, regions) in seen:
                    continue
                seen.add((name, ref, regions))
                if stem + suffix in first:
                    name = numbering.number_name(name)
                    stem = without_suffix(fold(name))
                first.add(stem + suffix)
            yield name, stem, ref, size, regions

    def _is_taken(self, key: str) -> bool:
        stem = without_suffix(key)
        return self._database.execute(_FIND, (key, stem, key[len(stem) :])).fetchone() is not None

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


@lru_cache(maxsize=1024)
def shown_folder(folder: str) -> str:
    """Return a folder of a bucket (`s3://photos/delft`) as the start of names: `s3/photos/delft/`."""
    scheme, _, path = folder.partition("://")
    parts = (shorten(shown_key_part(part)) for part in (scheme, *path.split("/")))
    return "".join(f"{folder_name(part)}/" if part else "" for part in parts)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError("disk", f"the list of a job's images cannot be written to disk: {error}") from error
