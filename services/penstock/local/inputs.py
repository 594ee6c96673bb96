"""Inputs of `penstock run`: files, folders and globs, listed lazily, one folder at a time."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from penstock.common.image_header import is_image_file
from penstock.common.model.errors import RequestError
from penstock.common.model.names import distinct, fold, unique_stems
from penstock.common.model.result_names import SINGLE, ResultNames
from penstock.common.sidecars import described_name, find_sidecar, sidecar_names

_SINGLE = ResultNames(SINGLE)


@dataclass(frozen=True)
class Sidecar:
    """The file with an image's regions, beside it."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class InputFile:
    """One input file. `name` is its path below the inputs' common folder; its results are named after `stem`."""

    path: str
    name: str
    stem: str
    size_bytes: int
    mtime_ns: int
    sidecar: Sidecar | None = None


class Inputs:
    """The files that paths and globs of a command line name, without those in folder `exclude` unless all are.

    Raises:
        RequestError: a path does not exist, a glob matches nothing, or an input folder is `exclude` itself.
    """

    def __init__(self, paths: Sequence[str], exclude: Path) -> None:
        self._exclude = os.path.abspath(exclude)
        found = {os.path.abspath(item) for path in paths for item in _expand(path)}
        found = {item for item in found if not _within(item, {self._exclude})} or found
        folders = {item for item in found if os.path.isdir(item)}
        self._folders = sorted(item for item in folders if not _within(os.path.dirname(item), folders))
        self._files = sorted(item for item in found - folders if not _within(item, folders))
        self._root = os.path.commonpath([*self._folders, *(os.path.dirname(item) for item in self._files)])
        if self._folders and self._root == self._exclude:
            raise RequestError(
                422, "results_among_inputs", f"--out {exclude} is the input folder itself; choose another folder"
            )

    def check_apart(self, names: ResultNames, output: str) -> None:
        """Refuse results that would overwrite inputs; they can only if all inputs are in the folder for results.

        `output` is the results' format.

        Raises:
            RequestError: a result would have the path of an input.
        """
        results = _identity(self._exclude)
        if results is None or all(_path_below(results, path) is None for path in (*self._folders, *self._files)):
            return
        most = 2 if names.part_may_be_added else 1
        inputs = {}
        for file in self.files(_ignore, names):
            path = _path_below(results, file.path)
            if path is not None and output in (_format_of(path), "keep"):
                inputs.update({fold(stem): file for stem in names.stems(path)[:most]})
        for file in self.files(_ignore, names):
            if fold(file.stem) in inputs:
                overwritten = inputs[fold(file.stem)].path
                message = f"a result of {file.name} would overwrite the input {overwritten}"
                raise RequestError(422, "results_among_inputs", f"{message}; choose another --out or --names")

    def files(self, on_ignored: Callable[[str], None], names: ResultNames = _SINGLE) -> Iterator[InputFile]:
        """Yield every input, unreadable ones too; call `on_ignored` with files of other types.

        Sidecars are neither; one without an image is ignored.
        """
        by_folder: dict[str, list[str]] = {}
        for path in self._files:
            by_folder.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
        for folder, files in by_folder.items():
            images = [name for name in files if described_name(name) is None]
            beside = {each for name in images for each in sidecar_names(name)}
            present = [name for name in beside if os.path.isfile(os.path.join(folder, name))]
            yield from self._in_folder(folder, images, _by_image(images, present), names)
        for folder in self._folders:
            for below, files in self._walk(folder):
                images = [name for name in files if is_image_file(os.path.join(below, name), if_unreadable=True)]
                sidecars = _by_image(images, files)
                for name in set(files).difference(images, sidecars.values()):
                    on_ignored(os.path.join(below, name))
                yield from self._in_folder(below, images, sidecars, names)

    def count(self) -> int:
        """Return the number of files, whether images or not."""
        return len(self._files) + sum(len(names) for folder in self._folders for _, names in self._walk(folder))

    def _walk(self, folder: str) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder with its file names, both sorted, without hidden ones."""
        unreadable: list[OSError] = []
        for below, folders, names in os.walk(folder, onerror=unreadable.append):
            folders[:] = sorted(name for name in _visible(folders) if os.path.join(below, name) != self._exclude)
            yield below, sorted(name for name in _visible(names) if _is_file(os.path.join(below, name)))
        for error in unreadable:  # yielded as files, so that their jobs report why they cannot be read
            parent, name = os.path.split(error.filename)
            yield parent, [name]

    def _in_folder(
        self, folder: str, files: list[str], sidecars: Mapping[str, str], names: ResultNames
    ) -> Iterator[InputFile]:
        relative = os.path.relpath(folder, self._root)
        prefix = "" if relative == "." else f"{_printable(relative)}/"
        texts = distinct(_printable(name) for name in files)
        stems = unique_stems(texts, names.max_stem_bytes, may_add_parts=names.part_may_be_added)
        for name, text, stem in zip(files, texts, stems, strict=True):
            path = os.path.join(folder, name)
            size_bytes, mtime_ns = _status(path)
            sidecar = _sidecar(os.path.join(folder, sidecars[name])) if name in sidecars else None
            yield InputFile(path, prefix + text, prefix + stem, size_bytes, mtime_ns, sidecar)


def _by_image(images: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Return the names of images' sidecars that are among the names of a folder, by image."""
    described = {image: name for name in names if (image := described_name(name))}
    found = {image: find_sidecar(image, described) for image in images} if described else {}
    return {image: name for image, name in found.items() if name}


def _sidecar(path: str) -> Sidecar:
    return Sidecar(path, *_status(path))


def _expand(path: str) -> Iterable[str]:
    if os.path.exists(path):
        return [path]
    matches = glob.iglob(path, recursive=True) if glob.has_magic(path) else ()
    found = [match for match in matches if os.path.lexists(match)]  # "gone/**" matches "gone/", there or not
    if not found:
        raise RequestError(422, "source_not_found", f"{path}: no such file or folder, and no glob that matches any")
    return found


def _within(path: str, folders: Set[str]) -> bool:
    """Return whether a path is one of the folders or lies in one."""
    while path not in folders:
        parent = os.path.dirname(path)
        if parent == path:
            return False
        path = parent
    return True


def _visible(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not name.startswith("."))


def _is_file(path: str) -> bool:
    """Return whether it is a file, or cannot be followed: then it is included so that its failure is reported."""
    return os.path.isfile(path) or not os.path.exists(path)


def _printable(name: str) -> str:
    """Return a file name as valid UTF-8; bytes that are not are written as `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a file or folder; None if it cannot be followed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _path_below(folder: tuple[int, int], path: str) -> str | None:
    """Return the path from a folder, given by device and inode, to a file or folder below it; None if it is not."""
    given, names = os.path.realpath(path), []
    while (parent := os.path.dirname(given)) != given:
        names.append(os.path.basename(given))
        given = parent
        if _identity(given) == folder:
            return "/".join(reversed(names))
    return None


def _format_of(path: str) -> str:
    """Return the format that a file has by its suffix, as results are called."""
    suffix = os.path.splitext(path)[1].lower().removeprefix(".")
    return {"jpeg": "jpg"}.get(suffix, suffix)


def _ignore(_path: str) -> None:
    pass


def _status(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
