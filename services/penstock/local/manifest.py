"""Manifest of `penstock run`: one JSON line per finished image, written beside the results.

It lets the same command, run again, process only what is missing.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from penstock.common.model.errors import RequestError, StartupError, UnavailableError
from penstock.common.model.messages import Outcome
from penstock.common.model.plan import Plan
from penstock.common.model.result_names import PARTS, ResultNames
from penstock.local.inputs import InputFile

NAME = "manifest.ndjson"


class Manifest:
    """The manifest of a results folder, for one plan and template of names; locks the folder against other runs.

    Raises:
        RequestError: the folder holds results of another plan, or named otherwise (`force` removes them).
        StartupError: the folder is locked by another run, or is not writable.
    """

    def __init__(self, folder: Path, plan: Plan, names: str = PARTS, *, force: bool) -> None:
        self._folder = folder
        self._plan = plan.canonical()
        self._names = names
        self._path = folder / NAME
        self._done: set[int] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            try:
                self._restore(force=force)
                self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            message = f"cannot use {folder}: {error.strerror}; choose another --out"
            raise StartupError("data_unusable", message) from error

    def is_done(self, file: InputFile) -> bool:
        """Return whether an input and its regions are unchanged since it was done, and its results still exist."""
        return _digest(file) in self._done

    def add(self, file: InputFile, outcome: Outcome) -> None:
        """Write the outcome of an image."""
        entry: dict[str, Any] = {"image": file.name, "state": outcome.state, "source": f"{_digest(file):016x}"}
        if outcome.error is None:
            entry["results"] = [result.model_dump(mode="json", exclude={"key"}) for result in outcome.results]
        else:
            entry["error"] = outcome.error.model_dump(include={"code", "message", "step", "retry"})
        with _writable(self._path):
            self._file.write(json.dumps(entry) + "\n")

    def add_ignored(self, file: str, reason: str) -> None:
        """Write that a file was ignored."""
        with _writable(self._path):
            self._file.write(json.dumps({"image": file, "state": "ignored", "reason": reason}) + "\n")

    def flush(self) -> None:
        """Hand all entries to the operating system."""
        with _writable(self._path):
            self._file.flush()

    def close(self) -> None:
        """Flush, close and unlock the folder."""
        with _writable(self._path):
            try:
                self._file.close()
            finally:
                os.close(self._lock)

    def _restore(self, *, force: bool) -> None:
        """Keep the entries of images that are done and whose results exist; drop the rest."""
        head = next(_read(self._path), None)
        if head is not None and (head.get("plan"), head.get("names", PARTS)) != (self._plan, self._names):
            if not force:
                raise RequestError(
                    409,
                    "other_results",
                    f"{self._folder} has results of other operations; choose another --out, or --force to replace them",
                )
            self._remove_results()
            head = None
        self._rewrite([] if head is None else self._valid_entries())

    def _remove_results(self) -> None:
        for entry in _read(self._path):
            for result in entry.get("results", []):
                (self._folder / result["name"]).unlink(missing_ok=True)

    def _valid_entries(self) -> Iterator[dict[str, Any]]:
        """Yield the entries of images that are done, of an image done repeatedly the last."""
        latest = {hash(entry["results"][0]["name"]): entry["source"] for entry in _read_done(self._path)}
        for entry in _read_done(self._path):
            if latest[hash(entry["results"][0]["name"])] == entry["source"] and self._exist(entry["results"]):
                yield entry

    def _rewrite(self, entries: Iterable[dict[str, Any]]) -> None:
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(json.dumps({"penstock": 1, "plan": self._plan, "names": self._names}) + "\n")
            for entry in entries:
                self._done.add(int(entry["source"], 16))
                file.write(json.dumps(entry) + "\n")
        fresh.replace(self._path)

    def _exist(self, results: list[dict[str, Any]]) -> bool:
        try:
            return all(os.stat(self._folder / result["name"]).st_size == result["size"] for result in results)
        except OSError:
            return False


def usual_names(folder: Path, plan: Plan) -> ResultNames:
    """Return how a run names its results unless it is told: as the results of this plan that are in the folder."""
    with suppress(OSError):
        head = next(_read(folder / NAME), {})
        if head.get("plan") == plan.canonical() and "names" not in head:  # by version 0.1.0
            return ResultNames(PARTS)
    return plan.result_names(None)


def _read_done(path: Path) -> Iterator[dict[str, Any]]:
    return (entry for entry in _read(path) if entry.get("state") == "done" and entry.get("results"))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete entries; a killed run may have left an incomplete last line, or no file."""
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _lock(folder: Path) -> int:
    """Lock a folder against other runs; return the descriptor that holds the lock until it is closed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StartupError(
            "data_in_use", f"another run is writing to {folder}; wait for it, or choose another --out"
        ) from error
    return descriptor


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError("store", f"cannot write {path}: {error.strerror}; finished results are kept") from error


def _digest(file: InputFile) -> int:
    text = f"{file.path}\0{file.stem}\0{file.size_bytes}\0{file.mtime_ns}"
    if file.sidecar is not None:
        text += f"\0{file.sidecar.path}\0{file.sidecar.size_bytes}\0{file.sidecar.mtime_ns}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
