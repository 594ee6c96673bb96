"""Manifest of `penstock run`: one JSON line per finished image, written beside the results.

It lets the same command, run again, process only what is missing. What it lists are the only files that a run replaces
or removes.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from penstock.common.model.errors import RequestError
from penstock.common.model.messages import Outcome
from penstock.common.model.plan import Plan
from penstock.common.model.result_names import PARTS, ResultNames
from penstock.local.earlier_results import EarlierResults
from penstock.local.inputs import InputFile
from penstock.local.manifest_lines import Listed, ManifestFile, write_line
from penstock.local.results_folder import MANIFEST, NoSpaceError, ResultsFolder

log = logging.getLogger(__name__)

_DRAFT = "manifest.new"
_SETTLE_SECS = 1.0


class Manifest:
    """The manifest of a results folder, for one plan and template of names. Before `begin`, no file is changed.

    `verify`: compare the content of all earlier results with their checksums, not only size and time of modification.

    Raises:
        RequestError: the folder holds results of another plan, or named otherwise (`force` removes them), or a file
            named like the manifest that is none.
        UnavailableError: the manifest cannot be read or written.
    """

    def __init__(
        self, folder: ResultsFolder, plan: Plan, names: str = PARTS, *, force: bool, verify: bool = False
    ) -> None:
        self._folder = folder
        self._path = folder.path / MANIFEST
        self._lines: list[bytes] = []
        self._published: list[str] = []
        self._unsettled: list[str] = []
        self._settle_at = time.monotonic()
        self._listed: set[int] | None = None
        self._file: int | None = None
        self._adds_to_others = False
        self._full: NoSpaceError | None = None
        with self._translated():
            head = ManifestFile(self._path).head()
            is_other = head is not None and (head.plan, head.names) != (plan.canonical(), names)
            if is_other and not force:
                raise RequestError(
                    409,
                    "other_results",
                    f"{folder.path} has results of other operations; choose another --out, or --force to replace them",
                )
            self._head = write_line({"penstock": 1, "plan": plan.canonical(), "names": names})
            self._earlier = EarlierResults(ManifestFile(self._path), folder, verify, all_stale=is_other)
            self._write_draft()

    def is_done(self, file: InputFile) -> bool:
        """Return whether an input and its regions are unchanged since it was done, and its results still exist."""
        done = self._earlier.done
        return bool(done) and _digest(file) in done

    def lists(self, name: str) -> bool:
        """Return whether a result of an earlier run has a name."""
        if self._listed is None:
            self._listed = _names(ManifestFile(self._path))
        return hash(name) in self._listed

    def entries(self) -> Iterator[Listed]:
        """Yield the images with results that it lists now."""
        return ManifestFile(self._path).entries()

    @property
    def listed(self) -> frozenset[int]:
        """The hashes of the names of all results that it lists now."""
        return frozenset(_names(ManifestFile(self._path)))

    def begin(self) -> None:
        """Replace the earlier manifest, and remove stale results.

        Raises:
            NoSpaceError: the disk is full.
        """
        if self._full is not None:
            raise self._full
        with self._translated():
            self._replace()
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags)

    def publish(self, file: InputFile, outcome: Outcome) -> None:
        """Give the results of an image that is done their names, and add its line.

        Raises:
            NameTakenError: a file that no run made has the name of a result.
            NoSpaceError: the disk is full.
        """
        results, published = [], []
        try:
            for result in outcome.results:
                status = self._folder.publish(result.name, self.lists)
                published.append(result.name)
                listed = result.model_dump(mode="json", exclude={"key"})
                results.append(listed | {"mtime_ns": status.st_mtime_ns})
        except BaseException:
            self._withdraw(published)
            raise
        self._published += published
        digests = {"source": source_digest(file), "input": f"{_input_digest(file):016x}"}
        self._add({"image": file.name, "state": "done", **digests, "results": results})

    def add_failure(self, file: InputFile, error: dict[str, Any]) -> None:
        """Add the line of an image that failed."""
        self._add({"image": file.name, "state": "failed", "source": source_digest(file), "error": error})

    def add_ignored(self, file: str, reason: str) -> None:
        """Add the line of a file that was ignored."""
        self._add({"image": file, "state": "ignored", "reason": reason})

    def flush(self) -> None:
        """Hand all lines to the operating system; if that fails, the results in them lose their names.

        Raises:
            NoSpaceError: the disk is full.
        """
        if self._file is None or not self._lines:
            return
        published, self._published = self._published, []
        data, self._lines = b"".join(self._lines), []
        try:
            with self._translated():
                _append(self._file, data)
        except BaseException:
            self._withdraw(published)
            raise
        self._unsettled += published
        if time.monotonic() >= self._settle_at:
            self._settle()

    def close(self) -> None:
        """Flush and close it, and remove results that it made stale."""
        if self._file is None:
            return
        try:
            self.flush()
            self._settle()
            if self._adds_to_others:
                with self._translated(), suppress(NoSpaceError):
                    self._remove_stale()
        finally:
            os.close(self._file)
            self._file = None

    def _settle(self) -> None:
        """Wait until the lines are on the disk; then their results need not be told from other files any more.

        After a power failure, either a result is listed, or the next run finds it waiting and takes its name back.
        """
        assert self._file is not None
        with self._translated():
            os.fdatasync(self._file)
        for name in self._unsettled:
            self._folder.settle(name)
        self._unsettled = []
        self._settle_at = time.monotonic() + _SETTLE_SECS

    def _withdraw(self, names: Sequence[str]) -> None:
        for name in names:
            self._folder.withdraw(name)

    def _add(self, entry: dict[str, Any]) -> None:
        entry["image"] = entry["image"].encode("utf-8", "replace").decode()
        self._lines.append(write_line(entry))

    def _write_draft(self) -> None:
        """Write the manifest as it is to be; on a full disk, the earlier one is read all the same."""
        lines = self._earlier.kept_lines()
        try:
            with open(self._folder.work / _DRAFT, "wb") as file:
                file.write(self._head)
                for line in lines:
                    self._adds_to_others = True
                    file.write(line)
        except OSError as error:
            translated = self._folder.translate(error, MANIFEST)
            if not isinstance(translated, NoSpaceError):
                raise
            self._full = translated
            for _ in lines:
                pass
        skipped = self._earlier.manifest.skipped
        if skipped.count:
            log.warning(
                "%d lines of %s are none of a run and were skipped; %s", skipped.count, self._path, skipped.first
            )

    def _replace(self) -> None:
        """Remove stale results, and put the draft in the manifest's place."""
        draft = self._folder.work / _DRAFT
        if self._earlier.has_stale:
            self._earlier.remove_stale(_names(ManifestFile(draft)))
        draft.replace(self._path)
        self._listed = None

    def _remove_stale(self) -> None:
        self._earlier = EarlierResults(ManifestFile(self._path), self._folder)
        self._write_draft()
        if self._full is None and self._earlier.has_stale:
            self._replace()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._folder.translate(error, MANIFEST) from error


def usual_names(folder: Path, plan: Plan) -> ResultNames:
    """Return how a run names its results unless it is told: as the results of this plan that are in the folder."""
    with suppress(OSError, RequestError):
        head = ManifestFile(folder / MANIFEST).head()
        if head is not None and head.plan == plan.canonical() and "names" not in head.model_fields_set:
            return ResultNames(PARTS)  # by version 0.1.0
    return plan.result_names(None)


def _names(manifest: ManifestFile) -> set[int]:
    """Return the hashes of the names of all results that a manifest lists."""
    return {hash(result.name) for entry, _ in manifest.entries() for result in entry.results}


def _append(file: int, data: bytes) -> None:
    """Append data to a file, all of it or nothing."""
    size = os.fstat(file).st_size
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def source_digest(file: InputFile) -> str:
    """Return the digest by which the manifest knows an input as it is now."""
    return f"{_digest(file):016x}"


def _digest(file: InputFile) -> int:
    parts: Iterable[object] = (file.path, file.stem, file.size_bytes, file.mtime_ns)
    if file.sidecar is not None:
        parts = (*parts, file.sidecar.path, file.sidecar.size_bytes, file.sidecar.mtime_ns)
    return _hash("\0".join(map(str, parts)))


def _input_digest(file: InputFile) -> int:
    return _hash(f"{file.output}\0{file.path}" if file.output else file.path)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
