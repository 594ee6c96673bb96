"""The manifest beside the results of `penstock run`: one JSON line an image, written as images end.

It is what makes the same command, run again, do only what is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.messages import Outcome, Result
from penstock.common.model.plan import Plan
from penstock.local.inputs import Source

NAME = "manifest.ndjson"


class Manifest:
    """Opens (or begins) the manifest of a results folder for one plan, and keeps other runs out of the folder.

    Raises:
        RequestError: the folder holds results of another plan (`force` removes them), another run writes to it, or
            it cannot be written to.
    """

    def __init__(self, folder: Path, plan: Plan, *, force: bool) -> None:
        self._folder = folder
        self._plan = plan.document()
        self._path = folder / NAME
        self._done: set[int] = set()
        with _usable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            try:
                self._begin(force=force)
                self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
            except BaseException:
                os.close(self._lock)
                raise

    def has(self, source: Source) -> bool:
        """Whether a picture, unchanged since, has been done with its results still there."""
        return _digest(source) in self._done

    def add(self, source: Source, outcome: Outcome) -> None:
        """Write how an image ended."""
        entry: dict[str, Any] = {"image": source.name, "state": outcome.state, "source": f"{_digest(source):016x}"}
        if outcome.error is None:
            entry["results"] = [_without_key(result) for result in outcome.results]
        else:
            entry["error"] = outcome.error.model_dump(include={"code", "message", "step", "retry"})
        with _writable(self._path):
            self._file.write(json.dumps(entry) + "\n")

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        with _writable(self._path):
            self._file.flush()

    def close(self) -> None:
        """Flush, close, and let other runs into the folder."""
        with _writable(self._path):
            try:
                self._file.close()
            finally:
                os.close(self._lock)

    def _begin(self, *, force: bool) -> None:
        """Keep the lines of images that are done and whose results are there; drop the rest."""
        head = next(_read(self._path), None)
        if head is not None and head.get("plan") != self._plan:
            if not force:
                raise RequestError(
                    409,
                    "other_results",
                    f"{self._folder} holds results of other operations; "
                    "choose another --out, or --force to replace them",
                )
            self._remove_results()
            head = None
        self._rewrite([] if head is None else self._still_true())

    def _remove_results(self) -> None:
        for entry in _read(self._path):
            for result in entry.get("results", []):
                (self._folder / result["name"]).unlink(missing_ok=True)

    def _still_true(self) -> Iterator[dict[str, Any]]:
        """Yield the entries of images that are done; where one was done again, what came of it last."""
        latest = {hash(entry["results"][0]["name"]): entry["source"] for entry in _read_done(self._path)}
        for entry in _read_done(self._path):
            if latest[hash(entry["results"][0]["name"])] == entry["source"] and self._is_there(entry["results"]):
                yield entry

    def _rewrite(self, entries: Iterable[dict[str, Any]]) -> None:
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(json.dumps({"penstock": 1, "plan": self._plan}) + "\n")
            for entry in entries:
                self._done.add(int(entry["source"], 16))
                file.write(json.dumps(entry) + "\n")
        fresh.replace(self._path)

    def _is_there(self, results: list[dict[str, Any]]) -> bool:
        try:
            return all(os.stat(self._folder / result["name"]).st_size == result["size"] for result in results)
        except OSError:
            return False


def _read_done(path: Path) -> Iterator[dict[str, Any]]:
    return (entry for entry in _read(path) if entry.get("state") == "done" and entry.get("results"))


def _without_key(result: Result) -> dict[str, Any]:
    return {name: value for name, value in vars(result).items() if name != "key"}


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines that are whole: a kill may have cut the last one. No file, no lines."""
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _lock(folder: Path) -> int:
    """Return an open descriptor that keeps other runs out of a folder until it is closed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RequestError(
            409, "data_in_use", f"another run is writing to {folder}; wait for it, or choose another --out"
        ) from error
    return descriptor


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(
            409, "data_unusable", f"cannot use {folder}: {error.strerror}; choose another --out"
        ) from error


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError("store", f"cannot write {path}: {error.strerror}; what is finished stays") from error


def _digest(source: Source) -> int:
    text = f"{source.path}\0{source.stem}\0{source.size_bytes}\0{source.mtime_ns}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
