"""Input files: files and folders below the configured root.

Links in folders are followed. One that leads out of the root is an input that fails, for the worker refuses to read it.
Folders with the server's own data are left out.
"""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import quote

from penstock.common.folders import FolderError, FolderRules, Found, FoundImage, images_among, sidecars_beside, walk
from penstock.common.image_header import HEAD_BYTES, ImageType
from penstock.common.input_root import InputRoot
from penstock.common.model.errors import ImageError, RequestError
from penstock.common.model.jobs import Prefix
from penstock.common.model.names import distinct, folder_name, shown_name, unique_stems
from penstock.common.model.result_names import ResultNames
from penstock.common.sidecars import described_name
from penstock.coordinator.intake.skipped_files import SkippedFiles

_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch
_LEADS_OUT = "a link out of the folder for inputs"


class FoundFile(NamedTuple):
    """An image to process: its name (relative, unique in its job), the stem of its results' names, and its URL.

    The size is None if it was not looked up. `regions` are the JSON list of its regions, or the URL of its sidecar,
    `labels` the JSON object of its labels.
    """

    name: str
    stem: str
    ref: str
    size_bytes: int | None
    regions: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class LocalInputs:
    """Files and folders that exist below the root, none twice. Names are relative to `base`, their common folder."""

    root: InputRoot
    base: Path
    files: list[Path]
    folders: list[Path]


def locate(root: InputRoot | None, inputs: Sequence[str | Prefix], places: Sequence[int] | None = None) -> LocalInputs:
    """Look up a job's inputs without listing folders. `places` are their indices in the job document.

    Raises:
        RequestError: 403 `source_forbidden` for a path that is not below `root`; 422 for one that doesn't exist.
    """
    root = checked_root(root, "/inputs")
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
    return LocalInputs(root, base, sorted(files), sorted(folders))


def find_files(
    located: LocalInputs, results: ResultNames, skipped: SkippedFiles, types: Collection[ImageType]
) -> Iterator[FoundFile]:
    """Yield single files of any type, then the images of some types in folders, as `images_among` returns them.

    Images that have sidecars beside them get their URLs. One folder at a time is in memory.

    Raises:
        RequestError: 422 if a folder can't be read, or two folders have the same name where names have to be changed.
    """
    files = [path for path in located.files if described_name(path.name) is None]
    names = distinct(_shown(path, located.base) for path in files)
    regions = _sidecar_urls(files)
    for path, name, stem in zip(files, names, _stems(names, results), strict=True):
        yield FoundFile(name, stem, file_url(str(path)), _size_of(path), regions.get(path))
    rules = _Rules(located.root, skipped)
    places = {name.rpartition("/")[0] for name in names}
    is_alone = len(located.folders) == 1 and not files
    for folder in located.folders:
        for group in walk(str(folder), folder_name(_shown(folder, located.base)), rules):
            images = images_among(group, rules.on_skipped, if_unreadable=True, read=rules.read_head, types=types)
            images += [FoundImage(link, None) for link in rules.take_refused()]
            if images:
                if not is_alone:
                    _add_place(places, images[0].file.name.rpartition("/")[0])
                yield from _in_folder(images, results)


def checked_root(root: InputRoot | None, pointer: str) -> InputRoot:
    """Return the folder for inputs. Raises RequestError: 403 if there is none."""
    if root is None:
        message = "this server has no folder for inputs; its operator can set one (PENSTOCK_INPUT_ROOT)"
        raise RequestError(403, "source_forbidden", message, pointer)
    return root


def file_url(path: str) -> str:
    """Return the URL of an absolute path; its name may have any bytes."""
    return f"file://{_quote(path)}"


def _quote(path: str) -> str:
    return path if _NEEDS_NO_QUOTES(path) else quote(os.fsencode(path))


def resolve(root: InputRoot, text: str, *, folder: bool, pointer: str) -> Path:
    """Return the path of a file or folder below `root`, with links resolved.

    Raises:
        RequestError: 403 `source_forbidden` if it is not below `root`, or never an input; 422 if it doesn't exist.
    """
    shown = ascii(text[:80])
    top = root.resolve()
    try:
        path = (top / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(422, "source_not_found", f"{shown} can't be resolved", pointer) from error
    if not path.is_relative_to(top):
        raise RequestError(403, "source_forbidden", f"{shown} is not below the folder for inputs", pointer)
    if any(part.startswith(".") for part in path.relative_to(top).parts):
        raise RequestError(403, "source_forbidden", f"{shown} is hidden", pointer)
    if root.is_private(path):
        raise RequestError(
            403, "source_forbidden", f"{shown} is the server's own data, which is never an input", pointer
        )
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


class _Rules(FolderRules):
    """Rules that keep links out of the root apart, because they are listed as files that cannot be read."""

    def __init__(self, root: InputRoot, skipped: SkippedFiles) -> None:
        super().__init__(
            self._note,
            _refuse_folder,
            self._check_link,
            lambda path: root.is_private_folder(Path(path)),
            open_folder=root.open_folder,
            with_sizes=True,
        )
        self._inputs = root
        self._root = root.resolve()
        self._skipped = skipped
        self._refused: list[Found] = []

    def read_head(self, path: str) -> bytes:
        """Return the first bytes of a file below the root. Raises OSError."""
        try:
            with self._inputs.open(os.fsencode(path)) as (file, _):
                return file.read(HEAD_BYTES)
        except ImageError as error:
            raise PermissionError(errno.EACCES, error.message) from error

    def take_refused(self) -> list[Found]:
        """Return the links in the last folder that lead out of the root."""
        refused, self._refused = self._refused, []
        return refused

    def _note(self, found: Found, reason: str) -> None:
        if reason == _LEADS_OUT:
            self._refused.append(found)
        else:
            self._skipped.add(found.name, reason)

    def _check_link(self, path: str) -> str | None:
        target = Path(os.path.realpath(path))
        if target != self._root and not target.is_relative_to(self._root):
            return _LEADS_OUT
        if any(part.startswith(".") for part in target.relative_to(self._root).parts):
            return "a link to something hidden"
        return "a link to the server's own data" if self._inputs.is_private(target) else None


def _refuse_folder(error: FolderError) -> NoReturn:
    name = error.folder.name[:80]
    raise RequestError(422, "source_forbidden", f"folder {name!a} can't be read", "/inputs") from error


def _in_folder(images: list[FoundImage], results: ResultNames) -> Iterator[FoundFile]:
    """Yield the images of one folder, of which there is at least one."""
    names = distinct([image.file.name for image in images])
    start = images[0].file.path.rindex("/")
    folder = file_url(images[0].file.path[:start])
    for (file, sidecar), name, stem in zip(images, names, _stems(names, results), strict=True):
        regions = None if sidecar is None else file_url(sidecar.path)
        size = file.size_bytes if file.size_bytes is not None else _size_of(file.path)
        yield FoundFile(name, stem, folder + _quote(file.path[start:]), size, regions)


def _add_place(places: set[str], place: str) -> None:
    if place in places:
        message = f"two folders would be called {place[:80]!a}; send them as two jobs"
        raise RequestError(422, "equal_names", message, "/inputs")
    places.add(place)


def _sidecar_urls(files: list[Path]) -> dict[Path, str]:
    """Return the URLs of the sidecars beside single files."""
    by_folder: dict[Path, list[str]] = {}
    for path in files:
        by_folder.setdefault(path.parent, []).append(path.name)
    urls = {}
    for folder, names in by_folder.items():
        sidecars = sidecars_beside(str(folder), names)
        for name in names:
            if found := sidecars.find(name):
                urls[folder / name] = file_url(str(folder / found))
    return urls


def _size_of(path: str | Path) -> int | None:
    """Return a file's size; None if it is no file, or was just deleted, which a worker will report."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _shown(path: Path, base: Path) -> str:
    return "/".join(map(shown_name, path.relative_to(base).parts))
