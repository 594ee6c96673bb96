"""InputSpool: a temporary table of a job's inputs, because their names are known only after the last one was found.

Names start below the deepest folder that has all inputs. Names that are the same are numbered, of folders, too, as
for folders of this host. A result is named without the image's suffix only if no other image could have a result of
the same name, as `unique_stems` does it for a short list. Sidecars may come before or after their images. A list of a
million images stays on disk until then.
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
from penstock.common.sidecars import SUFFIX, described_name
from penstock.coordinator.intake.file_names import shown_key_part
from penstock.coordinator.intake.inputs.files import FoundFile

_ROWS_PER_INSERT = 4_096

# `stem` and `suffix` are folded.
_CREATE = """
CREATE TABLE files (name TEXT, stem TEXT, suffix TEXT, ref TEXT, size INTEGER, regions TEXT, raw TEXT, labels TEXT)
"""
_CREATE_SIDECARS = "CREATE TABLE sidecars (name TEXT PRIMARY KEY, folded TEXT, ref TEXT, used INTEGER DEFAULT 0)"
_CREATE_FOLDERS = "CREATE TABLE folders (name TEXT PRIMARY KEY, own TEXT, folded TEXT UNIQUE)"
_FIND_FOLDER = "SELECT own FROM folders WHERE name = ?"
_IS_FOLDER_TAKEN = "SELECT 1 FROM folders WHERE folded = ?"
_INSERT_FOLDER = "INSERT INTO folders VALUES (?, ?, ?)"
_INSERT = "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_SIDECAR = "INSERT OR IGNORE INTO sidecars (name, folded, ref) VALUES (?, ?, ?)"
_INDEX_SIDECARS = "CREATE INDEX sidecars_by_folded ON sidecars (folded)"
_COLLISIONS = """
SELECT stem, count(*), max(times)
FROM (SELECT stem, count(*) AS times FROM files GROUP BY stem, suffix)
GROUP BY stem HAVING count(*) > 1 OR max(times) > 1
"""
_INDEX = "CREATE INDEX files_by_stem ON files (stem, suffix)"
_FIND = "SELECT 1 FROM files WHERE stem = ? OR (stem = ? AND suffix = ?) LIMIT 1"
_FILES = "SELECT name, stem, suffix, ref, size, regions, raw, labels FROM files ORDER BY rowid"
_SIDECAR = "SELECT rowid, ref FROM sidecars WHERE name IN (?, ?) ORDER BY length(name) DESC LIMIT 1"
_FOLDED_SIDECAR = "SELECT rowid, ref FROM sidecars WHERE folded IN (?, ?) ORDER BY length(folded) DESC, name LIMIT 1"
_USE_SIDECAR = "UPDATE sidecars SET used = 1 WHERE rowid = ?"
_ORPHANS = "SELECT name FROM sidecars WHERE NOT used ORDER BY name"


class InputSpool:
    """Collects up to `max_files` inputs, then returns them with their names, and stems for `results`.

    A context manager.
    """

    def __init__(self, max_files: int, results: ResultNames) -> None:
        self._max_files = max_files
        self._results = results
        self._count = 0
        self._sidecars = 0
        self._rows: list[tuple[str, str, str, str, int | None, str | None, str | None, str | None]] = []
        self._base: str | None = None
        self._last_folder: tuple[str, str] | None = None
        self._numbers: dict[str, int] = {}
        """The last number of each folder's name that several have."""
        # A file that SQLite creates once its cache is full, and that is gone when it is closed.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        tables = (_CREATE, _CREATE_SIDECARS, _CREATE_FOLDERS)
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", *tables, "BEGIN"):
            self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._database.close()

    def include_folder(self, folder: str) -> None:
        """Start names no deeper than in this folder (as `shown_folder` returns it).

        Raises:
            UnavailableError: the disk is full.
        """
        self._enter(folder)

    def _enter(self, folder: str) -> str:
        """Include a folder; return it under a name of its own."""
        if self._last_folder is not None and self._last_folder[0] == folder:
            return self._last_folder[1]
        with _translate_errors():
            own = self._own_folder(folder)
        self._last_folder = (folder, own)
        self._extend_base(own)
        return own

    def _own_folder(self, folder: str) -> str:
        """Return a folder under a name that is not the same as that of another one."""
        if not folder:
            return ""
        found = self._database.execute(_FIND_FOLDER, (folder,)).fetchone()
        if found is not None:
            return str(found[0])
        start = folder.rfind("/", 0, -1) + 1
        parent = self._own_folder(folder[:start])
        own = parent + folder[start:-1]
        if self._is_folder_taken(fold(own)):
            own = self._number_folder(own)
        self._database.execute(_INSERT_FOLDER, (folder, f"{own}/", fold(own)))
        return f"{own}/"

    def _number_folder(self, name: str) -> str:
        stem = without_suffix(name)
        number = self._numbers.get(fold(stem), 1) + 1
        while self._is_folder_taken(fold(f"{stem}~{number}{name[len(stem) :]}")):
            number += 1
        self._numbers[fold(stem)] = number
        return f"{stem}~{number}{name[len(stem) :]}"

    def _is_folder_taken(self, folded: str) -> bool:
        return self._database.execute(_IS_FOLDER_TAKEN, (folded,)).fetchone() is not None

    def _extend_base(self, folder: str) -> None:
        if self._base is None:
            self._base = folder
        while not folder.startswith(self._base):
            parent, slash, _ = self._base[:-1].rpartition("/")
            self._base = parent + slash

    def add(
        self,
        folder: str,
        name: str,
        ref: str,
        size_bytes: int | None = None,
        regions: str | None = None,
        raw: str | None = None,
        labels: str | None = None,
    ) -> None:
        """Add an input called `name` in a folder (as `shown_folder` returns it); the others as in `FoundFile`.

        `raw` is how it is called where it is, if that is another name.

        Raises:
            RequestError: 422 for one too many.
            UnavailableError: the disk is full.
        """
        folder = self._enter(folder)
        path = folder + name
        key = fold(path)
        stem = without_suffix(key)
        self._rows.append((path, stem, key[len(stem) :], ref, size_bytes, regions, raw and folder + raw, labels))
        self._count += 1
        self._check_count(self._count)
        if len(self._rows) == _ROWS_PER_INSERT:
            self._flush()

    def add_found(
        self,
        folder: str,
        name: str,
        shown: str,
        ref: str,
        size_bytes: int | None = None,
        regions: str | None = None,
        labels: str | None = None,
    ) -> bool:
        """Add a file called `name` where it is: the sidecar of an image, or else an image called `shown`.

        Returns whether it is an image. Raises as `add`.
        """
        described = described_name(name)
        if described is None:
            self.add(folder, shown, ref, size_bytes, regions, name, labels)
        else:
            self.add_sidecar(folder, described, ref)
        return described is None

    def add_sidecar(self, folder: str, described: str, ref: str) -> None:
        """Add the sidecar of the image called `described` where it is, with or without its suffix, in the same folder.

        Raises:
            RequestError: 422 for one too many.
            UnavailableError: the disk is full.
        """
        self._sidecars += 1
        self._check_count(self._sidecars)
        with _translate_errors():
            folder = self._own_folder(folder)
            self._database.execute(_INSERT_SIDECAR, (folder + described, folder + fold(described), ref))

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
            if self._sidecars:
                self._database.execute(_INDEX_SIDECARS)
            if repeated or self._results.part_may_be_added:
                self._database.execute(_INDEX)
            max_bytes, start = self._results.max_stem_bytes, len(self._base or "")
            for name, key, ref, size, regions, labels in self._distinct(repeated, numbering):
                stem = shorten(stems.choose(name, key)[start:], max_bytes)
                yield FoundFile(name[start:], stem, ref, size, regions, labels)

    def _distinct(
        self, repeated: set[str], numbering: Numbering
    ) -> Iterator[tuple[str, str, str, int | None, str | None, str | None]]:
        """Yield every file once: a name that no other has, its folded stem, URL, size, regions and labels."""
        seen: set[tuple[str, str, str | None, str | None]] = set()
        first: set[str] = set()
        for name, stem, suffix, ref, size, regions, raw, labels in self._database.execute(_FILES):
            regions = regions or self._find_sidecar(raw or name, is_shared=stem in repeated)
            if stem in repeated:
                if (name, ref, regions, labels) in seen:
                    continue
                seen.add((name, ref, regions, labels))
                if stem + suffix in first:
                    name = numbering.number_name(name)
                    stem = without_suffix(fold(name))
                first.add(stem + suffix)
            yield name, stem, ref, size, regions, labels

    def _is_taken(self, key: str) -> bool:
        stem = without_suffix(key)
        return self._database.execute(_FIND, (key, stem, key[len(stem) :])).fetchone() is not None

    def _find_sidecar(self, name: str, *, is_shared: bool) -> str | None:
        """Return the URL of an image's sidecar, as `Sidecars` finds it."""
        if not self._sidecars:
            return None
        found = self._database.execute(_SIDECAR, (name, without_suffix(name))).fetchone()
        if found is None and not is_shared:
            folder, slash, last = name.rpartition("/")
            keys = (f"{folder}{slash}{fold(each)}" for each in (last, without_suffix(last)))
            found = self._database.execute(_FOLDED_SIDECAR, tuple(keys)).fetchone()
        if found is None:
            return None
        self._database.execute(_USE_SIDECAR, found[:1])
        return str(found[1])

    def orphans(self) -> Iterator[str]:
        """Yield the names of sidecars whose images are not among the inputs, after `files`."""
        start = len(self._base or "")
        with _translate_errors():
            for (name,) in self._database.execute(_ORPHANS):
                yield "/".join(map(shown_key_part, name[start:].split("/"))) + SUFFIX

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
