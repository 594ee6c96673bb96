"""Inputs of `penstock run`: files, folders and globs, listed lazily, one folder at a time."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote

from penstock.common.folders import (
    FolderError,
    FolderRules,
    Found,
    FoundImage,
    GivenPaths,
    OnSkipped,
    describe_skipped,
    expand,
    is_same,
    path_below,
)
from penstock.common.image_header import TYPES, ImageType
from penstock.common.model.errors import RequestError
from penstock.common.model.names import fold, unique_stems
from penstock.common.model.result_names import SINGLE, ResultNames

OnIgnored = Callable[[str, str], object]
"""Called with the name of what is no input, and what it is: it completes "… is …"."""

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
    output: str = ""
    """Which of several outputs it is; each has its results in a folder of this name."""

    def as_output(self, name: str) -> "InputFile":
        """Return one of its outputs, which is an image of its own."""
        return replace(self, name=f"{name}/{self.name}", stem=f"{name}/{self.stem}", output=name)


class Inputs:
    """The files that paths and globs of a command line name, without those in folder `exclude` unless all are.

    In folders, these are images of some types.

    Raises:
        RequestError: a path does not exist, a glob matches nothing, or an input folder is `exclude` itself.
    """

    def __init__(self, paths: Sequence[str], exclude: Path, types: Collection[ImageType] = TYPES) -> None:
        self._types = types
        self._exclude = os.path.abspath(exclude)
        self._paths = paths
        self._results: Set[int] = frozenset()
        found = {os.path.abspath(item) for path in paths for item in _expand(path)}
        outside = {item for item in found if not self._is_excluded(item)}
        self._is_among_results = not outside
        self._left_out = sorted(item for item in found - outside if outside and not os.path.isdir(item))
        self._given = GivenPaths(outside or found)
        if self._given.folders and _is_folder(self._given.root, self._exclude):
            raise RequestError(
                422, "results_among_inputs", f"--out {exclude} is the input folder itself; choose another folder"
            )

    def leave_out(self, results: Set[int]) -> None:
        """Leave out results of earlier runs in the folder for results, by the hashes of their names in it."""
        self._results = results

    @property
    def are_among_results(self) -> bool:
        """Whether all of them are in the folder for results."""
        return self._is_among_results

    def check_any(self) -> None:
        """Refuse inputs without any image, before anything is written.

        Raises:
            RequestError: there is none; the message says what there is instead.
        """
        ignored: list[tuple[str, str]] = []
        if next(self.files(lambda name, reason: ignored.append((name, reason))), None) is None:
            others = f": {describe_skipped(ignored)}" if ignored else ""
            raise RequestError(422, "no_images", f"no images in {', '.join(self._paths)}{others}")

    def check_apart(self, names: ResultNames, output: str, folder: str = "") -> None:
        """Refuse results that would overwrite inputs; they can only if all inputs are in the folder for results.

        `output` is the results' format, `folder` where they are, with its slash.

        Raises:
            RequestError: a result would have the path of an input.
        """
        if not self._is_among_results:
            return
        most = 2 if names.part_may_be_added else 1
        tops = {_top_of(folder + file.stem) for file in self.files(_ignore, names)}
        inputs = {}
        for file in self.files(_ignore, names):
            path = path_below(self._exclude, file.path)
            if path is not None and output in (_format_of(path), "keep"):
                stems = (stem for stem in names.stems(path)[:most] if _top_of(stem) in tops)
                inputs.update({fold(stem): file for stem in stems})
        for file in self.files(_ignore, names):
            if fold(folder + file.stem) in inputs:
                overwritten = inputs[fold(folder + file.stem)].path
                message = f"a result of {file.name} would overwrite the input {overwritten}"
                raise RequestError(422, "results_among_inputs", f"{message}; choose another --out or --names")

    def files(self, on_ignored: OnIgnored, names: ResultNames = _SINGLE) -> Iterator[InputFile]:
        """Yield every input, unreadable ones too; call `on_ignored` with the name of all else, and what it is.

        Sidecars are neither; one without an image is ignored.
        """
        unreadable: list[Found] = []
        rules = self._rules(lambda found, reason: on_ignored(found.name, reason))
        rules.on_unreadable = lambda error: unreadable.append(error.folder)
        for path in self._left_out:
            on_ignored(path, "in the folder for results")
        for group in self._given.images(rules, if_unreadable=True):
            yield from _name_results([image for image in group if not self._is_left_out(image, on_ignored)], names)
        for folder in unreadable:  # listed as files, so that their jobs report why they cannot be read
            name = folder.name or os.path.basename(folder.path)
            yield from _name_results([FoundImage(Found(folder.path, name), None)], names)

    def count(self) -> int:
        """Return the number of inputs and of what is ignored."""
        ignored = 0

        def count(_found: Found | FolderError, _reason: str = "") -> None:
            nonlocal ignored
            ignored += 1

        rules = self._rules(count)
        rules.on_unreadable = count
        return self._given.count(rules) + ignored + len(self._left_out)

    def _is_left_out(self, image: FoundImage, on_ignored: OnIgnored) -> bool:
        path = path_below(self._exclude, image.file.path) if self._results else None
        if path is None or hash(path) not in self._results:
            return False
        on_ignored(image.file.name, "a result of an earlier run")
        return True

    def _rules(self, on_skipped: OnSkipped) -> FolderRules:
        refuse_link = None if self._is_among_results else self._refuse_link
        is_excluded = partial(is_same, self._exclude)
        return FolderRules(on_skipped, refuse_link=refuse_link, is_excluded=is_excluded, types=self._types)

    def _refuse_link(self, path: str) -> str | None:
        return "a link into the folder for results" if self._is_excluded(path) else None

    def _is_excluded(self, path: str) -> bool:
        """Return whether a path leads to the folder for results or into it."""
        if os.path.islink(path):
            path = os.path.realpath(path)
        return _is_folder(path, self._exclude) or _is_in_folder(os.path.dirname(path), self._exclude)


def file_url(path: str) -> str:
    """Return the URL of an absolute path, as messages name a source."""
    return f"file://{quote(os.fsencode(path))}"


def _name_results(images: Sequence[FoundImage], names: ResultNames) -> Iterator[InputFile]:
    given = [image.file.name for image in images]
    stems = unique_stems(given, names.max_stem_bytes, may_add_parts=names.part_may_be_added)
    for (file, sidecar), stem in zip(images, stems, strict=True):
        beside = None if sidecar is None else Sidecar(sidecar.path, *_status(sidecar.path))
        yield InputFile(file.path, file.name, stem, *_status(file.path), beside)


def _expand(path: str) -> Sequence[str]:
    found = expand(path)
    if not found:
        raise RequestError(422, "source_not_found", f"{path}: no such file or folder, and no glob that matches any")
    return found


def _is_folder(path: str, folder: str) -> bool:
    return path == folder or is_same(path, folder)


@lru_cache(maxsize=4096)
def _is_in_folder(path: str, folder: str) -> bool:
    """Return whether a folder is another, or lies in it."""
    return _is_folder(path, folder) or path_below(folder, path) is not None


def _top_of(stem: str) -> str:
    """Return the first folder of a stem; empty if it has none."""
    return fold(stem.partition("/")[0]) if "/" in stem else ""


def _format_of(path: str) -> str:
    """Return the format that a file has by its suffix, as results are called."""
    suffix = os.path.splitext(path)[1].lower().removeprefix(".")
    return {"jpeg": "jpg", "tif": "tiff"}.get(suffix, suffix)


def _ignore(_name: str, _reason: str) -> None:
    pass


def _status(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
