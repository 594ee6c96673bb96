"""Input files: files and folders below the configured root. Links that lead out of it are refused."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import Prefix
from penstock.common.model.names import distinct, unique_stems
from penstock.common.model.result_names import ResultNames
from penstock.common.sidecars import described_name, find_sidecar, sidecar_names
from penstock.coordinator.intake.file_names import folder_name, shown_name


class FoundFile(NamedTuple):
    """An image to process: its name (relative, unique in its job), the stem of its results' names, and its URL.

    The size is None if it was not looked up. `regions` are the JSON list of its regions, or the URL of its sidecar.
    """

    name: str
    stem: str
    ref: str
    size_bytes: int | None
    regions: str | None = None


@dataclass(frozen=True)
class LocalInputs:
    """Files and folders that exist below the root, none twice. Names are relative to `base`, their common folder."""

    base: Path
    files: list[Path]
    folders: list[Path]


def locate(root: Path | None, inputs: Sequence[str | Prefix], places: Sequence[int] | None = None) -> LocalInputs:
    """Look up a job's inputs without listing folders. `places` are their indices in the job document.

    Raises:
        RequestError: 403 `source_forbidden` for a path that is not below `root`; 422 for one that doesn't exist.
    """
    root = opened_root(root, "/inputs")
    files: set[Path] = set()
    folders: set[Path] = set()
    for index, given in zip(places or range(len(inputs)), inputs, strict=True):
        folder = isinstance(given, Prefix)
        text = given.prefix if isinstance(given, Prefix) else given
        found = resolve(root, text, folder=folder, pointer=f"/inputs/{index}")
        (folders if folder else files).add(found)
    files = {path for path in files if folders.isdisjoint(path.parents)}
    folders = {path for path in folders if folders.isdisjoint(path.parents)}
    base = Path(os.path.commonpath([*folders, *(path.parent for path in files)]))
    return LocalInputs(base, sorted(files), sorted(folders))


def find_files(located: LocalInputs, results: ResultNames) -> Iterator[FoundFile]:
    """Yield every regular file, single files before those in folders; skip hidden files and links in folders.

    Sidecars are no images; those that have them beside them get their URLs. One folder at a time is in memory.

    Raises:
        RequestError: 422 if a folder can't be read.
    """
    files = [path for path in located.files if described_name(path.name) is None]
    names = distinct(_shown(path, located.base) for path in files)
    for path, name, stem in zip(files, names, _stems(names, results), strict=True):
        yield FoundFile(name, stem, file_url(str(path)), _size_of(path), _sidecar_url(path))
    for folder in located.folders:
        yield from _walk(str(folder), folder_name(_shown(folder, located.base)), results)


def opened_root(root: Path | None, pointer: str) -> Path:
    """Return the folder for inputs, with links resolved. Raises RequestError: 403 if there is none."""
    if root is None:
        message = "this server has no folder for inputs; its operator can set one (PENSTOCK_INPUT_ROOT)"
        raise RequestError(403, "source_forbidden", message, pointer)
    return root.resolve()


def file_url(path: str) -> str:
    """Return the URL of an absolute path; its name may have any bytes."""
    return f"file://{quote(os.fsencode(path))}"


def resolve(root: Path, text: str, *, folder: bool, pointer: str) -> Path:
    """Return the path of a file or folder below `root`, with links resolved.

    Raises:
        RequestError: 403 `source_forbidden` if it is not below `root`; 422 if it doesn't exist.
    """
    shown = ascii(text[:80])
    try:
        path = (root / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(422, "source_not_found", f"{shown} can't be resolved", pointer) from error
    if not path.is_relative_to(root):
        raise RequestError(403, "source_forbidden", f"{shown} is not below the folder for inputs", pointer)
    if any(part.startswith(".") for part in path.relative_to(root).parts):
        raise RequestError(403, "source_forbidden", f"{shown} is hidden", pointer)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise RequestError(422, "source_not_found", f"there is no {shown}", pointer) from error
    if folder and not stat.S_ISDIR(mode):
        raise RequestError(422, "source_not_found", f"{shown} is not a folder; a file is given without prefix", pointer)
    if not folder and not stat.S_ISREG(mode):
        raise RequestError(422, "source_not_found", f'{shown} is not a file; a folder is {{"prefix": …}}', pointer)
    return path


def _stems(names: list[str], results: ResultNames) -> list[str]:
    return unique_stems(names, results.max_stem_bytes, may_add_parts=results.part_may_be_added)


def _walk(folder: str, name: str, results: ResultNames) -> Iterator[FoundFile]:
    pending = [(folder, name)]
    while pending:
        folder, name = pending.pop()
        entries, folders = _entries(folder, name)
        files = [entry for entry in entries if described_name(entry.name) is None]
        sidecars = {described: file_url(entry.path) for entry in entries if (described := described_name(entry.name))}
        names = distinct(name + shown_name(entry.name) for entry in files)
        for entry, file, stem in zip(files, names, _stems(names, results), strict=True):
            regions = find_sidecar(entry.name, sidecars)
            yield FoundFile(file, stem, file_url(entry.path), _size_of(entry), regions)
        below = distinct(folder_name(name + shown_name(entry.name)) for entry in folders)
        pending += reversed([(entry.path, inner) for entry, inner in zip(folders, below, strict=True)])


def _sidecar_url(path: Path) -> str | None:
    """Return the URL of the sidecar beside a file; None if it has none."""
    for name in sidecar_names(path.name):
        if path.with_name(name).is_file():
            return file_url(str(path.with_name(name)))
    return None


def _size_of(file: Path | os.DirEntry[str]) -> int | None:
    """Return a file's size; None if it was just deleted, which a worker will report."""
    try:
        return file.stat(follow_symlinks=False).st_size
    except OSError:
        return None


def _entries(folder: str, name: str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise RequestError(422, "source_forbidden", f"folder {name[:80]!a} can't be read", "/inputs") from error
    files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
    return files, [entry for entry in entries if entry.is_dir(follow_symlinks=False)]


def _shown(path: Path, base: Path) -> str:
    return "/".join(map(shown_name, path.relative_to(base).parts))
