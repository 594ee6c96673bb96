"""Folders: the files in paths, folders and globs of this host, each once, under a name of its own.

`penstock run`, the client and the server's folder for inputs list folders alike: hidden files and folders are left out,
links are followed, and whatever else is left out is reported with the reason. One folder at a time is in memory.
"""

import glob
import os
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn

from penstock.common.image_header import HEAD_BYTES, TYPES, ImageType, describe_other, suffixes_of
from penstock.common.model.names import distinct, folder_name, shown_name
from penstock.common.sidecars import ORPHAN, Sidecars, described_name, sidecar_names

_SHOWN = 5
"""Skipped files that a message names."""


class Found(NamedTuple):
    """A file: its path, and its name below the inputs' common folder. No other input has the same name.

    The size is None if it was not looked up.
    """

    path: str
    name: str
    size_bytes: int | None = None


OnSkipped = Callable[[Found, str], object]
"""Called with a file or folder that is left out, and the reason, which completes "… is …"."""


class FolderError(Exception):
    """A folder that cannot be listed, and the system's reason."""

    def __init__(self, folder: Found, reason: str) -> None:
        super().__init__(f"{folder.path}: {reason}")
        self.folder = folder
        self.reason = reason


def raise_error(error: FolderError) -> NoReturn:
    """Raise an error."""
    raise error


@dataclass
class FolderRules:
    """How folders are listed.

    `on_skipped` is called for what is left out, except hidden files; `on_unreadable` for a folder that cannot be
    listed. `refuse_link` says why a link is not followed, from its path; None: it is. `is_excluded` says which
    folders, by their paths, are left out without a word. `open_folder` returns what to list for a folder's path: a path
    or descriptor. `types` are those of images that can be read. `with_sizes`: whether the sizes of files that are no
    links are looked up, which is fastest while their folder is open.
    """

    on_skipped: OnSkipped
    on_unreadable: Callable[[FolderError], object] = raise_error
    refuse_link: Callable[[str], str | None] | None = None
    is_excluded: Callable[[str], bool] = lambda _: False
    open_folder: Callable[[str], AbstractContextManager[str | int]] = nullcontext
    types: Collection[ImageType] = TYPES
    with_sizes: bool = False
    followed: set[tuple[int, int]] = field(default_factory=set)
    """Links to folders that were followed: each is followed once, or a few of them could multiply a folder."""


class _Folder:
    """A folder on the way down; `parent` is None for the first."""

    def __init__(self, path: str, name: str, parent: "_Folder | None", *, is_link: bool = False) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.is_below_link: bool = is_link or (parent is not None and parent.is_below_link)

    def is_or_is_below(self, path: str) -> bool:
        """Return whether a path leads to this folder, or to one that it was reached through."""
        folder: _Folder | None = self
        while folder is not None:
            if is_same(folder.path, path):
                return True
            folder = folder.parent
        return False


def walk(path: str, name: str, rules: FolderRules) -> Iterator[list[Found]]:
    """Yield the files of a folder, then those of each folder below it, sorted. `name` is its name among the inputs."""
    pending = [_Folder(path, name, None)]
    while pending:
        folder = pending.pop()
        try:
            files, others = _list(folder, rules)
        except OSError as error:
            rules.on_unreadable(FolderError(Found(folder.path, folder.name), error.strerror or str(error)))
            continue
        kinds = [_kind_of(entry, folder, rules) for entry in others]
        files += [(entry.name, None) for entry, kind in zip(others, kinds, strict=True) if kind == "file"]
        files.sort()
        place, start = os.path.join(folder.path, ""), _join(folder.name, "")
        names = distinct([start + shown_name(name) for name, _ in files])
        yield [Found(place + name, shown, size) for (name, size), shown in zip(files, names, strict=True)]
        folders = [entry for entry, kind in zip(others, kinds, strict=True) if kind == "folder"]
        below = distinct(_join(folder.name, folder_name(shown_name(entry.name))) for entry in folders)
        pending += [
            _Folder(entry.path, shown, folder, is_link=entry.is_link)
            for entry, shown in zip(folders, below, strict=True)
        ][::-1]


class _Entry(NamedTuple):
    """A folder or link in a folder, or what is no file. `identity` are the device and inode of a link itself."""

    path: str
    name: str
    is_link: bool
    is_folder: bool
    is_file: bool
    identity: tuple[int, int] | None


def _list(folder: _Folder, rules: FolderRules) -> tuple[list[tuple[str, int | None]], list[_Entry]]:
    """Return names and sizes of the files in a folder, and what else is in it, sorted. Hidden ones are left out.

    Raises OSError.
    """
    files, others = [], []
    with rules.open_folder(folder.path) as place, os.scandir(place) as listing:
        start = os.path.join(folder.path, "")
        for entry in listing:
            name = entry.name
            if name[0] == ".":
                continue
            if entry.is_file(follow_symlinks=False):
                files.append((name, _size_of(entry) if rules.with_sizes else None))
            else:
                others.append(_read_entry(start, entry))
    return files, sorted(others, key=lambda entry: entry.name)


def _read_entry(start: str, entry: os.DirEntry[str]) -> _Entry:
    """Return an entry of a folder, whose path with its slash is `start`."""
    is_link, path = entry.is_symlink(), start + entry.name
    own = entry.stat(follow_symlinks=False) if is_link else None
    identity = None if own is None else (own.st_dev, own.st_ino)
    return _Entry(path, entry.name, is_link, _is_folder(entry), _is_file(entry), identity)


def _size_of(entry: os.DirEntry[str]) -> int | None:
    """Return the size of a file that is no link; None if it was just deleted."""
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return None


def _kind_of(entry: _Entry, folder: _Folder, rules: FolderRules) -> Literal["file", "folder"] | None:
    """Return whether an entry is listed as a file or as a folder; None: it is left out."""
    is_link, is_folder = entry.is_link, entry.is_folder
    if is_folder and not is_link and rules.is_excluded(entry.path):
        return None
    reason = None
    if is_folder and (is_link or folder.is_below_link) and folder.is_or_is_below(entry.path):
        reason = "a link to a folder that it is in" if is_link else "a folder that a link in it leads to"
    elif is_link:
        reason = _refuse_link(entry, rules)
    elif not is_folder:
        reason = "neither a file nor a folder"
    if reason is None:
        return "folder" if is_folder else "file"
    rules.on_skipped(Found(entry.path, _join(folder.name, shown_name(entry.name))), reason)
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead to each other
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _refuse_link(entry: _Entry, rules: FolderRules) -> str | None:
    """Return why a link is not followed; None: it is."""
    if identity_of(entry.path) is None:
        return "a link to nothing"
    try:
        reason = rules.refuse_link(entry.path) if rules.refuse_link is not None else None
    except OSError:  # no link, or to somewhere else, by the time that it is followed
        reason = "a link that changed meanwhile"
    if reason is not None:
        return reason
    if not entry.is_folder:
        return None if entry.is_file else "a link to neither a file nor a folder"
    assert entry.identity is not None
    if entry.identity in rules.followed:
        return "a link that was followed before"
    rules.followed.add(entry.identity)
    return None


class FoundImage(NamedTuple):
    """An image in a folder, and the file with its regions beside it, if there is one."""

    file: Found
    sidecar: Found | None


def read_head(path: str) -> bytes:
    """Return the first bytes of a file, which tell its type. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read(HEAD_BYTES)


def images_among(
    files: Sequence[Found],
    on_skipped: OnSkipped,
    *,
    if_unreadable: bool,
    read: Callable[[str], bytes] = read_head,
    types: Collection[ImageType] = TYPES,
) -> list[FoundImage]:
    """Return the files of a folder that are images of some types, by suffix or first bytes.

    Unreadable files are returned, too, if `if_unreadable`. `read` returns a file's first bytes or raises OSError.
    """
    named = [(file, name, described_name(name)) for file in files for name in [file.path.rpartition(os.sep)[2]]]
    described = [(each, file) for file, _, each in named if each]
    others = [(file, name) for file, name, each in named if each is None]
    sidecars = Sidecars(described, (name for _, name in others))
    images, suffixes = [], suffixes_of(types)
    for file, name in others:
        is_named = name.lower().endswith(suffixes)
        reason = None if is_named else _why_no_image(file.path, read, types, if_unreadable=if_unreadable)
        if reason is None:
            images.append(FoundImage(file, sidecars.find(name)))
        else:
            on_skipped(file, reason)
    for sidecar in sidecars.orphans():
        on_skipped(sidecar, ORPHAN)
    return images


def describe_skipped(skipped: Sequence[tuple[str, str]], count: int | None = None) -> str:
    """Return what the first files that were left out are, from names and reasons: `a.txt is text, b is empty`.

    `count` is how many there are, if not all are given.
    """
    count = len(skipped) if count is None else count
    more = f", and {count - _SHOWN} more" if count > _SHOWN else ""
    text = ", ".join(f"{name} is {reason}" for name, reason in skipped[:_SHOWN])
    return (text + more).encode("utf-8", "replace").decode()


def sidecars_beside(folder: str, images: Sequence[str]) -> Sidecars[str]:
    """Return the names of the sidecars in a folder of this host for its images of some names.

    Where a folder cannot be listed, those with exactly the usual names are found.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] != ".")
    except OSError:
        names = [each for name in images for each in sidecar_names(name)]
    described = ((each, name) for name in names if (each := described_name(name)))
    return Sidecars(((each, name) for each, name in described if os.path.isfile(os.path.join(folder, name))), images)


def _why_no_image(
    path: str, read: Callable[[str], bytes], types: Collection[ImageType], *, if_unreadable: bool
) -> str | None:
    """Return what a file is that is no image of these types, or why it cannot be read; None if it is one."""
    try:
        head = read(path)
    except OSError as error:
        return None if if_unreadable else f"unreadable ({error.strerror})"
    return describe_other(head, types)


class GivenPaths:
    """The files and folders that a command names, each once, without those inside others.

    Args:
        paths: absolute paths.
    """

    def __init__(self, paths: Set[str]) -> None:
        folders = {path for path in paths if os.path.isdir(path)}
        self.folders = sorted(path for path in folders if not is_within(os.path.dirname(path), folders))
        self.files = sorted(path for path in paths - folders if not is_within(path, folders))
        self.root = os.path.commonpath([*self.folders, *map(os.path.dirname, self.files)])

        self._by_folder: dict[str, list[str]] = {}
        for path in self.files:
            self._by_folder.setdefault(os.path.dirname(path), []).append(path)
        places = [*self._by_folder, *self.folders]
        self._names = dict(zip(places, distinct(map(self._shown, places)), strict=True))

    def images(self, rules: FolderRules, *, if_unreadable: bool) -> Iterator[list[FoundImage]]:
        """Yield the given files, of any type, by folder; then the images of each folder, as `images_among` does."""
        for folder, paths in self._by_folder.items():
            yield self._given_images(folder, [os.path.basename(path) for path in paths], rules.on_skipped)
        for folder in self.folders:
            for group in walk(folder, self._names[folder], rules):
                yield images_among(group, rules.on_skipped, if_unreadable=if_unreadable, types=rules.types)

    def _given_images(self, folder: str, names: Sequence[str], on_skipped: OnSkipped) -> list[FoundImage]:
        """Return the given files in a folder; skip sidecars that were given without their images."""
        images = [name for name in names if described_name(name) is None]
        sidecars = sidecars_beside(folder, images)
        place = self._names[folder]
        found = []
        for name, shown in zip(images, distinct(_join(place, shown_name(name)) for name in images), strict=True):
            beside = sidecars.find(name)
            sidecar = None if beside is None else Found(os.path.join(folder, beside), _join(place, shown_name(beside)))
            found.append(FoundImage(Found(os.path.join(folder, name), shown), sidecar))
        for name in set(sidecars.orphans()).intersection(names):
            on_skipped(Found(os.path.join(folder, name), _join(place, shown_name(name))), ORPHAN)
        return found

    def count(self, rules: FolderRules) -> int:
        """Return the number of files, images or not."""
        return len(self.files) + sum(len(group) for folder in self.folders for group in walk(folder, "", rules))

    def _shown(self, folder: str) -> str:
        relative = os.path.relpath(folder, self.root)
        parts = [] if relative == os.curdir else relative.split(os.sep)
        return "/".join(folder_name(shown_name(part)) for part in parts)


def expand(path: str) -> Sequence[str]:
    """Return a path that exists, or what a glob matches; nothing if there is no such path."""
    if os.path.lexists(path):
        return [path]
    matches = glob.iglob(path, recursive=True) if glob.has_magic(path) else ()
    return [match for match in matches if os.path.lexists(match)]  # "gone/**" matches "gone/", there or not


def is_within(path: str, folders: Set[str]) -> bool:
    """Return whether a path is one of the folders or lies in one."""
    while path not in folders:
        parent = os.path.dirname(path)
        if parent == path:
            return False
        path = parent
    return True


def identity_of(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a file or folder; None if there is none, or it cannot be followed."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def is_same(path: str, other: str) -> bool:
    """Return whether two paths lead to the same file or folder."""
    identity = identity_of(path)
    return identity is not None and identity == identity_of(other)


def path_below(folder: str, path: str) -> str | None:
    """Return the path from a folder to what a path leads to, without links; None if that is not below the folder."""
    identity = identity_of(folder)
    given, names = os.path.realpath(path), []
    while identity is not None and (parent := os.path.dirname(given)) != given:
        names.append(os.path.basename(given))
        given = parent
        if identity_of(given) == identity:
            return "/".join(reversed(names))
    return None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
