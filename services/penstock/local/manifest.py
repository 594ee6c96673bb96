"""The manifest beside the results of `penstock run`: one JSON line an image, written as images end.

It is what makes the same command, run again, do only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.common.errors import RequestError
from penstock.common.messages import Outcome
from penstock.common.plan import Plan
from penstock.local.inputs import Source

NAME = "manifest.ndjson"


class Manifest:
    """Opens (or begins) the manifest of a results folder for one plan.

    Raises:
        RequestError: the folder holds results of another plan; `force` removes them.
    """

    def __init__(self, folder: Path, plan: Plan, *, force: bool) -> None:
        self._folder = folder
        self._plan = plan.document()
        self._path = folder / NAME
        self._done: set[int] = set()
        if self._path.exists():
            self._take_over(force=force)
        else:
            self._path.write_text(self._head(), encoding="utf-8")
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)

    def has(self, source: Source) -> bool:
        """Whether a picture, unchanged since, has been done with its results still there."""
        return _digest(source) in self._done

    def add(self, source: Source, outcome: Outcome) -> None:
        """Write how an image ended."""
        entry: dict[str, Any] = {"image": source.name, "state": outcome.state, "source": f"{_digest(source):016x}"}
        if outcome.error is None:
            entry["results"] = [result.model_dump(exclude={"key"}) for result in outcome.results]
        else:
            entry["error"] = outcome.error.model_dump(include={"code", "message", "step", "retry"})
        self._file.write(json.dumps(entry) + "\n")

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def _head(self) -> str:
        return json.dumps({"penstock": 1, "plan": self._plan}) + "\n"

    def _take_over(self, *, force: bool) -> None:
        """Keep the lines of images that are done and whose results are there; drop the rest."""
        lines = _read(self._path)
        head = next(lines, {})
        if head.get("plan") == self._plan:
            self._rewrite(lines)
        elif force:
            for entry in lines:
                for result in entry.get("results", []):
                    (self._folder / result["name"]).unlink(missing_ok=True)
            self._path.write_text(self._head(), encoding="utf-8")
        else:
            raise RequestError(
                409,
                "other_results",
                f"{self._folder} holds results of other operations; choose another --out, or --force to replace them",
            )

    def _rewrite(self, lines: Iterator[dict[str, Any]]) -> None:
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(self._head())
            for entry in lines:
                if entry.get("state") == "done" and self._is_there(entry["results"]):
                    self._done.add(int(entry["source"], 16))
                    file.write(json.dumps(entry) + "\n")
        fresh.replace(self._path)

    def _is_there(self, results: list[dict[str, Any]]) -> bool:
        try:
            return all(os.stat(self._folder / result["name"]).st_size == result["size"] for result in results)
        except OSError:
            return False


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines that are whole: a kill may have cut the last one."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _digest(source: Source) -> int:
    text = f"{source.path}\0{source.stem}\0{source.size_bytes}\0{source.mtime_ns}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
