"""What a job's inputs name, wherever it lies: files and folders of this host and of buckets, and lists of either.

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
    Located,
    file_url,
    find_files,
    locate,
    opened_root,
    resolve,
)
from penstock.coordinator.intake.input_lists import Manifest, read_path
from penstock.coordinator.intake.input_spool import InputSpool, shown_folder

_LOOK_UPS_AT_ONCE = 32
_LOCAL = "files/"
"""What names of this host's files begin with where others have other places."""

_IMAGE_SUFFIX = re.compile(r"\.(?:jpe?g|png)\Z", re.IGNORECASE)


def find_inputs(
    inputs: Sequence[str | Prefix | ManifestRef | UploadRef],
    root: Path | None,
    buckets: BucketAllowlist,
    limits: Limits,
) -> Iterator[FoundFile]:
    """Check what a job names; return an iterator that then looks and lists.

    Memory stays bounded however much there is. Names are relative to the deepest folder that holds all; where inputs
    come from several places, they begin with the place (`s3/photos/…`, `files/…`).

    Raises:
        RequestError: 403 `source_forbidden`, 422 `source_not_found`; the iterator as well.
        UnavailableError: a bucket is away.
    """
    search = _Search(root, buckets, limits)
    for index, given in enumerate(inputs):
        assert not isinstance(given, UploadRef), "an upload stands alone, and is found elsewhere"
        with _refused(f"/inputs/{index}"):
            search.take(index, given)
    search.locate()
    if search.located is not None and not search.elsewhere:
        return find_files(search.located)
    return search.run()


@dataclass
class _Search:
    """The inputs of one job, sorted by what they are."""

    root: Path | None
    buckets: BucketAllowlist
    limits: Limits
    local: dict[int, str | Prefix] = field(default_factory=dict)
    located: Located | None = None
    files: list[tuple[int, Location]] = field(default_factory=list)
    folders: list[tuple[int, Location]] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)

    @property
    def elsewhere(self) -> bool:
        """Whether there is anything but files and folders of this host."""
        return bool(self.files or self.folders or self.manifests)

    def take(self, index: int, given: str | Prefix | ManifestRef) -> None:
        """Sort one input in; URLs are checked."""
        if isinstance(given, ManifestRef):
            self.manifests.append(self._manifest(index, given.manifest))
        elif isinstance(given, Prefix) and "://" in given.prefix:
            self.folders.append((index, self.buckets.locate_folder(given.prefix)))
        elif isinstance(given, str) and "://" in given:
            self.files.append((index, self.buckets.locate(given)))
        else:
            self.local[index] = given

    def locate(self) -> None:
        """Look up the files and folders of this host."""
        if self.local:
            self.located = locate(self.root, list(self.local.values()), list(self.local))

    def run(self) -> Iterator[FoundFile]:
        """List everything, then yield it."""
        with InputSpool(self.limits.max_images) as listing:
            self._list_local(listing)
            self._list_files(listing)
            for index, folder in self.folders:
                self._list_folder(listing, index, folder)
            for manifest in self.manifests:
                self._list_manifest(listing, manifest)
            yield from listing.files()

    def _manifest(self, index: int, text: str) -> Manifest:
        pointer = f"/inputs/{index}"
        place: Location | Path
        if "://" in text:
            place = self.buckets.locate(text)
        else:
            place = resolve(opened_root(self.root, pointer), text, folder=False, pointer=pointer)
        return Manifest(place, ascii(text[:120]), pointer, self.limits.max_upload_bytes)

    def _list_local(self, listing: InputSpool) -> None:
        if self.located is None:
            return
        assert self.root is not None
        base = _local_folder(self.located.base.relative_to(self.root.resolve()).as_posix())
        listing.include_folder(base)
        for file in find_files(self.located):
            folder, slash, name = file.name.rpartition("/")
            listing.add(f"{base}{folder}{slash}", name, file.ref, file.size_bytes)

    def _list_files(self, listing: InputSpool) -> None:
        """Look up single files, many at a time."""
        with ThreadPoolExecutor(_LOOK_UPS_AT_ONCE, "look-up") as pool:
            sizes = pool.map(self._find_size, self.files)
            for (_, place), size in zip(self.files, sizes, strict=True):
                _add(listing, place.url, size)

    def _find_size(self, named: tuple[int, Location]) -> int:
        index, place = named
        with _refused(f"/inputs/{index}"):
            found = self.buckets.stat(place)
            if found is None:
                raise SourceNotFoundError("source_not_found", f"there is no {place.url[:120]!a}")
            return found.size_bytes

    def _list_folder(self, listing: InputSpool, index: int, folder: Location) -> None:
        """List a folder without what is hidden, and without the empty objects that stand for folders."""
        with _refused(f"/inputs/{index}"):
            listing.include_folder(shown_folder(folder.url.rstrip("/")))
            empty = True
            for key, size in self.buckets.list(folder):
                hidden = "/." in f"/{key[len(folder.key) :]}"
                if not hidden and (size or _IMAGE_SUFFIX.search(key)):
                    _add(listing, f"{folder.bucket}/{key}", size)
                    empty = False
            if empty:
                raise SourceNotFoundError("source_not_found", f"there is nothing below {folder.url[:120]!a}")

    def _list_manifest(self, listing: InputSpool, manifest: Manifest) -> None:
        root = None if self.root is None else str(self.root.resolve()).rstrip("/")
        with _refused(manifest.pointer):
            for number, text in manifest.lines(self.buckets):
                try:
                    if "://" in text:
                        self.buckets.check(text)
                        _add(listing, text)
                    else:
                        _add_path(listing, text, root)
                except SourceForbiddenError as error:
                    raise manifest.refuse_line(number, 403, error.code, error.message) from error


def _add(listing: InputSpool, url: str, size_bytes: int | None = None) -> None:
    folder, _, name = url.rpartition("/")
    listing.add(shown_folder(folder), shown_key_part(name), url, size_bytes)


def _add_path(listing: InputSpool, text: str, root: str | None) -> None:
    if root is None:
        raise SourceForbiddenError("source_forbidden", "this server reads no folders (PENSTOCK_INPUT_ROOT)")
    path = read_path(text, root)
    folder, _, name = path.rpartition("/")
    listing.add(_local_folder(folder), shown_name(name), file_url(f"{root}/{path}"))


@lru_cache(maxsize=1024)
def _local_folder(path: str) -> str:
    shown = "/".join(map(shown_name, path.split("/"))) if path not in ("", ".") else ""
    return _LOCAL + folder_name(shown)


@contextmanager
def _refused(pointer: str) -> Iterator[None]:
    """Let what a bucket says of an input refuse the job."""
    try:
        yield
    except SourceForbiddenError as error:
        raise RequestError(403, error.code, error.message, pointer) from error
    except SourceNotFoundError as error:
        raise RequestError(422, error.code, error.message, pointer) from error
