"""Input resolver: finds the images that a job's inputs refer to, in files, folders, buckets and input lists.

Every URL is checked before anything is looked up, and again when a worker reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import ManifestRef, Prefix, UploadRef
from penstock.common.settings import Limits
from penstock.common.store.bucket_allowlist import BucketAllowlist, Location, SourceForbiddenError, SourceNotFoundError
from penstock.coordinator.intake.file_names import folder_name, shown_key_part, shown_name
from penstock.coordinator.intake.input_files import (
    FoundFile,
    LocalInputs,
    file_url,
    find_files,
    locate,
    opened_root,
    resolve,
)
from penstock.coordinator.intake.input_lists import InputList, read_path
from penstock.coordinator.intake.input_spool import InputSpool, shown_folder

_CONCURRENT_LOOKUPS = 32
_LOCAL = "files/"
"""The start of names of local files, if a job also has other inputs."""

_IMAGE_SUFFIX = re.compile(r"\.(?:jpe?g|png)\Z", re.IGNORECASE)


def find_inputs(
    inputs: Sequence[str | Prefix | ManifestRef | UploadRef],
    root: Path | None,
    buckets: BucketAllowlist,
    limits: Limits,
) -> Iterator[FoundFile]:
    """Check a job's inputs; return an iterator that then looks them up and lists them, in bounded memory.

    Names are relative to the deepest folder that has all inputs. If these are in several places, names start with the
    place (`s3/photos/…`, `files/…`).

    Raises:
        RequestError: 403 `source_forbidden`, 422 `source_not_found`; the iterator raises it as well.
        UnavailableError: a bucket is unreachable.
    """
    resolver = _Resolver(root, buckets, limits)
    for index, given in enumerate(inputs):
        assert not isinstance(given, UploadRef), "an upload is the only input, see upload_inputs"
        with _translate_errors(f"/inputs/{index}"):
            resolver.add(index, given)
    resolver.locate()
    if resolver.located is not None and not resolver.has_more:
        return find_files(resolver.located)
    return resolver.run()


@dataclass
class _Resolver:
    """The inputs of one job by kind."""

    root: Path | None
    buckets: BucketAllowlist
    limits: Limits
    local: dict[int, str | Prefix] = field(default_factory=dict)
    located: LocalInputs | None = None
    files: list[tuple[int, Location]] = field(default_factory=list)
    folders: list[tuple[int, Location]] = field(default_factory=list)
    lists: list[InputList] = field(default_factory=list)

    @property
    def has_more(self) -> bool:
        """Whether there are inputs other than local files and folders."""
        return bool(self.files or self.folders or self.lists)

    def add(self, index: int, given: str | Prefix | ManifestRef) -> None:
        """Add an input, and check it if it is a URL."""
        if isinstance(given, ManifestRef):
            self.lists.append(self._input_list(index, given.manifest))
        elif isinstance(given, Prefix) and "://" in given.prefix:
            self.folders.append((index, self.buckets.locate_folder(given.prefix)))
        elif isinstance(given, str) and "://" in given:
            self.files.append((index, self.buckets.locate(given)))
        else:
            self.local[index] = given

    def locate(self) -> None:
        """Look up local files and folders."""
        if self.local:
            self.located = locate(self.root, list(self.local.values()), list(self.local))

    def run(self) -> Iterator[FoundFile]:
        """List everything, then yield it."""
        with InputSpool(self.limits.max_images) as spool:
            self._list_local(spool)
            self._list_files(spool)
            for index, folder in self.folders:
                self._list_folder(spool, index, folder)
            for input_list in self.lists:
                self._read_list(spool, input_list)
            yield from spool.files()

    def _input_list(self, index: int, text: str) -> InputList:
        pointer = f"/inputs/{index}"
        place: Location | Path
        if "://" in text:
            place = self.buckets.locate(text)
        else:
            place = resolve(opened_root(self.root, pointer), text, folder=False, pointer=pointer)
        return InputList(place, ascii(text[:120]), pointer, self.limits.max_upload_bytes)

    def _list_local(self, spool: InputSpool) -> None:
        if self.located is None:
            return
        assert self.root is not None
        base = _local_folder(self.located.base.relative_to(self.root.resolve()).as_posix())
        spool.include_folder(base)
        for file in find_files(self.located):
            folder, slash, name = file.name.rpartition("/")
            spool.add(f"{base}{folder}{slash}", name, file.ref, file.size_bytes)

    def _list_files(self, spool: InputSpool) -> None:
        """Look up single objects, many at a time."""
        with ThreadPoolExecutor(_CONCURRENT_LOOKUPS, "lookup") as pool:
            sizes = pool.map(self._find_size, self.files)
            for (_, place), size in zip(self.files, sizes, strict=True):
                _add(spool, place.url, size)

    def _find_size(self, named: tuple[int, Location]) -> int:
        index, place = named
        with _translate_errors(f"/inputs/{index}"):
            found = self.buckets.stat(place)
            if found is None:
                raise SourceNotFoundError("source_not_found", f"there is no {place.url[:120]!a}")
            return found.size_bytes

    def _list_folder(self, spool: InputSpool, index: int, folder: Location) -> None:
        """List a folder of a bucket without hidden objects, and without the empty ones that represent folders."""
        with _translate_errors(f"/inputs/{index}"):
            spool.include_folder(shown_folder(folder.url.rstrip("/")))
            empty = True
            for key, size in self.buckets.list(folder):
                hidden = "/." in f"/{key[len(folder.key) :]}"
                if not hidden and (size or _IMAGE_SUFFIX.search(key)):
                    _add(spool, f"{folder.bucket}/{key}", size)
                    empty = False
            if empty:
                raise SourceNotFoundError("source_not_found", f"there are no images below {folder.url[:120]!a}")

    def _read_list(self, spool: InputSpool, input_list: InputList) -> None:
        root = None if self.root is None else str(self.root.resolve()).rstrip("/")
        with _translate_errors(input_list.pointer):
            for number, text in input_list.lines(self.buckets):
                try:
                    if "://" in text:
                        self.buckets.check(text)
                        _add(spool, text)
                    else:
                        _add_path(spool, text, root)
                except SourceForbiddenError as error:
                    raise input_list.line_error(number, 403, error.code, error.message) from error


def _add(spool: InputSpool, url: str, size_bytes: int | None = None) -> None:
    folder, _, name = url.rpartition("/")
    spool.add(shown_folder(folder), shown_key_part(name), url, size_bytes)


def _add_path(spool: InputSpool, text: str, root: str | None) -> None:
    if root is None:
        raise SourceForbiddenError("source_forbidden", "this server has no folder for inputs (PENSTOCK_INPUT_ROOT)")
    path = read_path(text, root)
    folder, _, name = path.rpartition("/")
    spool.add(_local_folder(folder), shown_name(name), file_url(f"{root}/{path}"))


@lru_cache(maxsize=1024)
def _local_folder(path: str) -> str:
    shown = "/".join(map(shown_name, path.split("/"))) if path not in ("", ".") else ""
    return _LOCAL + folder_name(shown)


@contextmanager
def _translate_errors(pointer: str) -> Iterator[None]:
    """Turn errors of an input into a refusal of the job."""
    try:
        yield
    except SourceForbiddenError as error:
        raise RequestError(403, error.code, error.message, pointer) from error
    except SourceNotFoundError as error:
        raise RequestError(422, error.code, error.message, pointer) from error
