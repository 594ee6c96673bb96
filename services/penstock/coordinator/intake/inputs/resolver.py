"""Input resolver: finds the images that a job's inputs refer to, in files, folders, buckets and input lists.

Every URL is checked before anything is looked up, and again when a worker reads it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from penstock.common.image_header import HEAD_BYTES, describe_other, suffixes_of
from penstock.common.input_root import InputRoot
from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import JobRef, JobState, ManifestRef, Prefix, UploadRef
from penstock.common.model.names import folder_name, shown_name
from penstock.common.model.result_names import ResultNames
from penstock.common.settings import Limits
from penstock.common.sidecars import ORPHAN, described_name
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.store.bucket_allowlist import BucketAllowlist, Location, SourceForbiddenError, SourceNotFoundError
from penstock.coordinator.intake.file_names import shown_key_part
from penstock.coordinator.intake.inputs.files import (
    FoundFile,
    LocalInputs,
    checked_root,
    file_url,
    find_files,
    locate,
    resolve,
)
from penstock.coordinator.intake.inputs.lists import InputList, LocalFile, read_path
from penstock.coordinator.intake.inputs.spool import InputSpool, shown_folder
from penstock.coordinator.intake.job_requests import no_images
from penstock.coordinator.intake.skipped_files import SkippedFiles
from penstock.coordinator.ports.ids import is_id
from penstock.coordinator.ports.repository import ALL_OWNERS, Job, Repository, Scope

_CONCURRENT_LOOKUPS = 32
_FILES_PER_PAGE = 1_000
_MAX_HEADS = 10_000
"""Objects in a folder whose types are looked up because their names do not tell them; more fail if they are none."""
_LOCAL = "files/"
"""The start of names of local files, if a job also has other inputs."""

T = TypeVar("T")


def find_inputs(
    inputs: Sequence[str | Prefix | ManifestRef | UploadRef | JobRef],
    root: InputRoot | None,
    buckets: BucketAllowlist,
    limits: Limits,
    names: ResultNames,
    skipped: SkippedFiles,
    results: str | None = None,
) -> Iterator[FoundFile]:
    """Check a job's inputs; return an iterator that then looks them up and lists them, in bounded memory.

    Names are relative to the deepest folder that has all inputs. If these are in several places, names start with the
    place (`s3/photos/…`, `files/…`). What is left out is added to `skipped`; so are earlier results below
    `results`, the URL of a folder.

    Raises:
        RequestError: 403 `source_forbidden`, 422 `source_not_found`; the iterator raises it as well.
        UnavailableError: a bucket is unreachable.
    """
    resolver = _Resolver(root, buckets, limits, names, skipped, f"{results.rstrip('/')}/" if results else None)
    for index, given in enumerate(inputs):
        assert not isinstance(given, UploadRef | JobRef), "it is the only input, see find_upload and find_earlier_job"
        with translate_errors(f"/inputs/{index}"):
            resolver.add(index, given)
    return resolver.run()


def _only_input(inputs: Sequence[object], kind: type[T], what: str) -> T | None:
    """Return the input of a kind that has to be the only one; None if there is none. Raises RequestError: 422."""
    for index, given in enumerate(inputs):
        if isinstance(given, kind):
            if len(inputs) > 1:
                message = f"{what} has to be the only input; send several jobs"
                raise RequestError(422, f"{what.split()[-1]}_not_alone", message, f"/inputs/{index}")
            return given
    return None


def find_upload(repository: Repository, inputs: Sequence[object], scope: Scope, limits: Limits) -> str | None:
    """Return the id of the upload that a job reads, None if it doesn't read one.

    Raises:
        RequestError: 422 if there are other inputs, or the upload doesn't exist or is empty; 415 if it has no image.
    """
    reference = _only_input(inputs, UploadRef, "an upload")
    if reference is None:
        return None
    name, pointer = reference.upload, "/inputs/0"
    upload = repository.get_upload(name, scope) if is_id(name) else None
    if upload is None:
        raise RequestError(422, "source_not_found", f"there is no upload {name[:40]!a}", pointer)
    if upload.files == 0:
        raise no_images()
    if upload.images == 0:
        message = f"none of {upload.files} files is an image; {limits.accepted_types}"
        raise RequestError(415, "unsupported_type", message, pointer)
    return upload.id


def uploaded_files(
    repository: Repository, upload: str, limits: Limits, names: ResultNames, skipped: SkippedFiles
) -> Iterator[FoundFile]:
    """Yield an upload's files in the order of their names. Call it after the job was created: no file is added then."""
    with InputSpool(limits.max_images, names) as spool:
        spool.include_folder("")
        after = ""
        while page := repository.list_upload_files(upload, after=after, limit=_FILES_PER_PAGE):
            for file in page:
                folder, slash, name = file.name.rpartition("/")
                spool.add_found(folder + slash, name, name, file.key, file.size_bytes)
            after = page[-1].name
        yield from _spooled(spool, skipped)


def _spooled(spool: InputSpool, skipped: SkippedFiles) -> Iterator[FoundFile]:
    yield from spool.files()
    for name in spool.orphans():
        skipped.add(name, ORPHAN)


def find_earlier_job(repository: Repository, inputs: Sequence[object], scope: Scope) -> Job | None:
    """Return the job whose images are those of a new one, None if they are others.

    Raises:
        RequestError: 422 if there are other inputs, or no such job.
    """
    reference = _only_input(inputs, JobRef, "a job")
    if reference is None:
        return None
    name = reference.job
    job = repository.get_job(name, scope) if is_id(name) else None
    if job is None or job.state is JobState.RECEIVING:
        raise RequestError(422, "source_not_found", f"there is no job {name[:40]!a}", "/inputs/0")
    return job


def images_of_job(repository: Repository, job: Job, limits: Limits, results: ResultNames) -> Iterator[FoundFile]:
    """Yield the images of an earlier job with their regions.

    Call it after the new job was created with the same upload, which keeps the files if the earlier job is deleted.

    Raises:
        RequestError: 422 if the earlier job was deleted meanwhile.
    """
    layout = job.plan.layout
    with InputSpool(limits.max_images, results) as spool:
        spool.include_folder("")
        after = -1
        while page := repository.list_images(job.id, after=after, limit=_FILES_PER_PAGE):
            for image in page:
                if image.id % layout.count or layout.is_group(image.id):
                    continue  # another output of the same source, or a group
                sent = image.name.removeprefix(f"{layout.branches[0].name}/") if layout.branches else image.name
                folder, slash, name = sent.rpartition("/")
                spool.add(folder + slash, name, image.ref, image.size, image.regions, labels=image.labels)
            after = page[-1].id
        if repository.get_job(job.id, ALL_OWNERS) is None:
            raise RequestError(422, "source_not_found", f"job {job.id} was deleted meanwhile", "/inputs/0")
        yield from spool.files()


@dataclass
class _Resolver:
    """The inputs of one job by kind."""

    root: InputRoot | None
    buckets: BucketAllowlist
    limits: Limits
    names: ResultNames
    skipped: SkippedFiles
    results: str | None
    """The URL of the folder for results, with its slash."""
    local: dict[int, str | Prefix] = field(default_factory=dict)
    located: LocalInputs | None = None
    files: list[tuple[int, Location]] = field(default_factory=list)
    folders: list[tuple[int, Location]] = field(default_factory=list)
    lists: list[InputList] = field(default_factory=list)

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

    def run(self) -> Iterator[FoundFile]:
        """Look up local files and folders now; return an iterator that lists everything, then yields it."""
        if self.local:
            self.located = locate(self.root, list(self.local.values()), list(self.local))
            if not (self.files or self.folders or self.lists):
                return find_files(self.located, self.names, self.skipped, self.limits.types)
        return self._list_all()

    def _list_all(self) -> Iterator[FoundFile]:
        with InputSpool(self.limits.max_images, self.names) as spool:
            self._list_local(spool)
            self._list_files(spool)
            for index, folder in self.folders:
                self._list_folder(spool, index, folder)
            for input_list in self.lists:
                self._read_list(spool, input_list)
            yield from _spooled(spool, self.skipped)

    def _input_list(self, index: int, text: str) -> InputList:
        pointer = f"/inputs/{index}"
        location: Location | LocalFile
        if "://" in text:
            location = self.buckets.locate(text)
        else:
            root = checked_root(self.root, pointer)
            location = LocalFile(root, resolve(root, text, folder=False, pointer=pointer))
        return InputList(location, ascii(text[:120]), pointer, self.limits.max_upload_bytes)

    def _list_local(self, spool: InputSpool) -> None:
        if self.located is None:
            return
        assert self.root is not None
        base = _local_folder(self.located.base.relative_to(self.root.resolve()).as_posix())
        spool.include_folder(base)
        for file in find_files(self.located, self.names, self.skipped, self.limits.types):
            folder, slash, name = file.name.rpartition("/")
            spool.add(f"{base}{folder}{slash}", name, file.ref, file.size_bytes)
            if file.regions is not None:
                spool.add_sidecar(f"{base}{folder}{slash}", name, file.regions)

    def _list_files(self, spool: InputSpool) -> None:
        """Look up single objects, many at a time."""
        with ThreadPoolExecutor(_CONCURRENT_LOOKUPS, "lookup") as pool:
            sizes = pool.map(self._find_size, self.files)
            for (_, location), size in zip(self.files, sizes, strict=True):
                self._add(spool, location.url, size)

    def _find_size(self, indexed: tuple[int, Location]) -> int:
        index, location = indexed
        with translate_errors(f"/inputs/{index}"):
            found = self.buckets.stat(location)
            if found is None:
                raise SourceNotFoundError("source_not_found", f"there is no {location.url[:120]!a}")
            return found.size_bytes

    def _list_folder(self, spool: InputSpool, index: int, folder: Location) -> None:
        """List the images in a folder of a bucket, without hidden objects, and those that represent folders."""
        with translate_errors(f"/inputs/{index}"), ThreadPoolExecutor(_CONCURRENT_LOOKUPS, "lookup") as pool:
            spool.include_folder(shown_folder(folder.url.rstrip("/")))
            empty = True
            listed = self._visible(folder)
            looked_up, suffixes = 0, suffixes_of(self.limits.types)
            while page := list(islice(listed, _FILES_PER_PAGE)):
                others = [each for each in page if not _is_known(*each, suffixes)][: _MAX_HEADS - looked_up]
                looked_up += len(others)
                reasons = dict(zip(others, pool.map(partial(self._why_no_image, folder), others), strict=True))
                for key, size in page:
                    if reason := reasons.get((key, size)):
                        self.skipped.add(key[len(folder.key) :], reason)
                    else:
                        empty &= not _add(spool, f"{folder.bucket}/{key}", size)
            if empty:
                raise SourceNotFoundError("source_not_found", f"there are no images below {folder.url[:120]!a}")

    def _visible(self, folder: Location) -> Iterator[tuple[str, int]]:
        """Yield key and size of the objects in a folder that may be inputs; count earlier results as skipped."""
        for key, size in self.buckets.list(folder):
            below = key[len(folder.key) :]
            if "/." in f"/{below}" or (not size and key.endswith("/")):
                continue
            if self._is_result(f"{folder.bucket}/{key}"):
                self.skipped.add(below, "a result of another job")
            else:
                yield key, size

    def _is_result(self, url: str) -> bool:
        """Return whether an object is in a job's folder below the folder for results."""
        return (
            self.results is not None
            and url.startswith(self.results)
            and is_id(url[len(self.results) :].partition("/")[0])
        )

    def _why_no_image(self, folder: Location, listed: tuple[str, int]) -> str | None:
        """Return what an object is that is no image; None if it is one, or was deleted meanwhile."""
        key, size = listed
        head = b""
        if size:
            try:
                head = b"".join(self.buckets.store(folder).stream(key, 0, min(size, HEAD_BYTES)))
            except ObjectNotFoundError:
                return None
        return describe_other(head, self.limits.types)

    def _add(
        self,
        spool: InputSpool,
        url: str,
        size_bytes: int | None = None,
        regions: str | None = None,
        labels: str | None = None,
    ) -> None:
        """Add an object that was named by its URL, unless it is hidden."""
        if "/." in url:
            self.skipped.add(url, "hidden")
        else:
            _add(spool, url, size_bytes, regions, labels)

    def _read_list(self, spool: InputSpool, input_list: InputList) -> None:
        add_path = partial(_add_path, spool, None if self.root is None else _ListedPaths(self.root))
        with translate_errors(input_list.pointer):
            for number, text, regions, labels in input_list.entries(self.buckets):
                try:
                    if "://" in text:
                        self.buckets.check(text)
                        self._add(spool, text, None, regions, labels)
                    else:
                        add_path(text, regions, labels)
                except SourceForbiddenError as error:
                    raise input_list.line_error(number, 403, error.code, error.message) from error


def _add(
    spool: InputSpool,
    url: str,
    size_bytes: int | None = None,
    regions: str | None = None,
    labels: str | None = None,
) -> bool:
    """Add an object's URL to the spool; return whether it is an image, not a sidecar."""
    folder, _, name = url.rpartition("/")
    return spool.add_found(shown_folder(folder), name, shown_key_part(name), url, size_bytes, regions, labels)


def _is_known(key: str, size_bytes: int, suffixes: tuple[str, ...]) -> bool:
    """Return whether an object is an image or a sidecar by its name."""
    return key.lower().endswith(suffixes) or (size_bytes > 0 and described_name(key) is not None)


class _ListedPaths:
    """Paths in an input list, of which only the folders are looked up: whether they have the server's own data."""

    def __init__(self, root: InputRoot) -> None:
        self.folder = str(root.resolve()).rstrip("/")
        self._is_private = lru_cache(maxsize=1024)(lambda folder: root.is_private(Path(os.path.realpath(folder))))

    def read(self, text: str) -> str:
        """Return the path below the root. Raises SourceForbiddenError as `read_path`, and for the server's own data."""
        path = read_path(text, self.folder)
        if self._is_private(f"{self.folder}/{path}".rpartition("/")[0]):
            message = f"{text[:80]!a} is the server's own data, which is never an input"
            raise SourceForbiddenError("source_forbidden", message)
        return path


def _add_path(
    spool: InputSpool, paths: _ListedPaths | None, text: str, regions: str | None, labels: str | None
) -> None:
    if paths is None:
        raise SourceForbiddenError("source_forbidden", "this server has no folder for inputs (PENSTOCK_INPUT_ROOT)")
    path = paths.read(text)
    url = file_url(f"{paths.folder}/{path}")
    folder, _, name = path.rpartition("/")
    spool.add_found(_local_folder(folder), name, shown_name(name), url, None, regions, labels)


@lru_cache(maxsize=1024)
def _local_folder(path: str) -> str:
    parts = path.split("/") if path not in ("", ".") else []
    return _LOCAL + "".join(f"{folder_name(shown_name(part))}/" for part in parts)


@contextmanager
def translate_errors(pointer: str) -> Iterator[None]:
    """Turn errors of a source, at `pointer` in the job document, into a refusal of the job."""
    try:
        yield
    except SourceForbiddenError as error:
        raise RequestError(403, error.code, error.message, pointer) from error
    except SourceNotFoundError as error:
        raise RequestError(422, error.code, error.message, pointer) from error
