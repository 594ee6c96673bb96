"""Transfers of a job on a server: its images and document there, which can be resumed, and its results back."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.job_options import JobOptions
from penstock.cli.progress import Progress
from penstock.client.errors import RefusedError
from penstock.client.local_files import Photo, find_photos, remove_partial_files
from penstock.common.folders import describe_skipped
from penstock.common.headers.file_types import HEIC_NEEDS
from penstock.common.image_header import TYPES, ImageType, suffixes_of
from penstock.common.model.rest import Job, Result
from penstock.common.sidecars import described_name

if TYPE_CHECKING:
    from penstock.client.sync_client import Client

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """A job document with its inputs, or without inputs and with the files of this host that become them.

    `ignored` are the files and links in folders that are no images, and what they are: it completes "… is …".
    """

    document: dict[str, Any]
    files: list[Photo]
    ignored: list[tuple[str, str]] = field(default_factory=list)


def read_submission(
    job: JobOptions,
    paths: Sequence[str],
    labels: Sequence[str],
    fields: Mapping[str, Any],
) -> Submission:
    """Return what the command line says; `fields` that are not None replace those of `--job`.

    Raises:
        UsageError: no operations, no images, or both files and URIs.
        LocalFileError: a path or glob that matches nothing.
    """
    document = job.document()
    document |= {name: value for name, value in fields.items() if value is not None and name != "max_price"}
    if fields.get("max_price") is not None:
        document["cost"] = {"max_price": fields["max_price"]}
    if labels:
        document["labels"] = {**document.get("labels", {}), **dict(map(_read_label, labels))}
    uris = [path for path in paths if "://" in path]
    if uris and len(uris) < len(paths):
        raise click.UsageError("files on this host and URIs cannot be combined; submit two jobs")
    if paths and "inputs" in fields:
        raise click.UsageError("--from-job names the images; give no PATHS")
    if paths and "inputs" in document:
        raise click.UsageError("--job has inputs already; give no PATHS, or remove them from it")
    if uris:
        return Submission({**document, "inputs": [{"prefix": uri} if uri.endswith("/") else uri for uri in uris]}, [])
    if "inputs" in document:
        return Submission(document, [])
    return _with_files(document, paths, TYPES)


def keep_types(submission: Submission, paths: Sequence[str], types: Collection[ImageType]) -> Submission:
    """Return a submission that has, of folders, only images of some types.

    Raises:
        UsageError: no images are left.
    """
    suffixes = suffixes_of(types)
    if all(file.name.lower().endswith(suffixes) or described_name(file.name) for file in submission.files):
        return submission
    return _with_files(submission.document, paths, types)


def _with_files(document: dict[str, Any], paths: Sequence[str], types: Collection[ImageType]) -> Submission:
    ignored: list[tuple[str, str]] = []
    files = find_photos(paths, lambda name, what: ignored.append((name, what)), types)
    if not files:
        others = f": {describe_skipped(ignored)}" if ignored else ""
        raise click.UsageError(f"no images in {', '.join(paths)}{others}" if paths else "no images given")
    return Submission(document, files, ignored)


def find_accepted_types(client: Client) -> Collection[ImageType]:
    """Return the types of images that the server reads; all for a server of version 0.1.0, which does not say so."""
    try:
        accepted = {form.type for form in client.formats()}
    except RefusedError as error:
        if error.status == 404:
            return TYPES
        raise
    return [kind for kind in TYPES if kind in accepted]


def find_other_types(files: Sequence[Photo], accepted: Collection[ImageType]) -> list[tuple[str, str]]:
    """Return the names of files of other types than the accepted, and what they are: it completes "… is …"."""
    found = []
    for file in files:
        if file.size_bytes and described_name(file.name) is None:
            kind, name = file.describe_type()
            if kind not in accepted:
                needs = f", which needs {HEIC_NEEDS} on the server" if kind == "heic" else ""
                found.append((file.name, f"{name}{needs}"))
    return found


class UploadCheckpoint:
    """A file with the id of an unfinished upload of these files (paths, sizes and modification times) to a server.

    By it, the same command can resume the upload. If the folder cannot be used, uploads work but cannot be resumed.
    """

    def __init__(self, folder: Path, server: str, files: Sequence[Photo]) -> None:
        digest = hashlib.sha256(server.encode())
        for file in files:
            digest.update(f"\0{file.path}\0{file.size_bytes}\0{file.mtime_ns}".encode(errors="surrogateescape"))
        self._path = folder.expanduser() / "uploads" / f"{digest.hexdigest()}.json"

    def load(self) -> str | None:
        """Return the upload's id, or None if none was saved."""
        try:
            upload = json.loads(self._path.read_bytes())["upload"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return upload if isinstance(upload, str) else None

    def save(self, upload: str) -> None:
        """Save an upload's id."""
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"upload": upload}))
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("upload cannot be resumed if it is interrupted: %s: %s", self._path.parent, error.strerror)

    def remove(self) -> None:
        """Remove the file, so that the next command starts a new upload."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def send(client: Client, submission: Submission, checkpoint: UploadCheckpoint, progress: Progress) -> Job:
    """Upload the files that are missing on the server, then create their job. A repeated call creates no second job."""
    if not submission.files:
        return client.submit(submission.document)
    is_resumed = checkpoint.load() is not None  # then its job may be open already, and count for a quota
    client.check(submission.document, 0 if is_resumed else len(submission.files))
    upload, missing = _resume_upload(client, checkpoint, submission.files)
    progress.begin_upload(len(submission.files), len(submission.files) - len(missing))
    try:
        client.send_files(upload, missing, lambda _: progress.add_upload())
        document = {**submission.document, "inputs": [{"upload": upload}]}
        return client.submit(document, idempotency_key=job_key(upload, document))
    except RefusedError as error:
        if error.status in (404, 409):  # the upload is gone or was used: start with a new one the next time
            checkpoint.remove()
        raise


def _resume_upload(client: Client, checkpoint: UploadCheckpoint, files: Sequence[Photo]) -> tuple[str, list[Photo]]:
    """Return the upload's id, and the files that are missing in it."""
    upload = checkpoint.load()
    if upload is not None:
        try:
            sizes = {file.name: file.size for file in client.uploaded(upload)}
            return upload, [file for file in files if sizes.get(file.name) != file.size_bytes]
        except RefusedError as error:
            if error.status != 404:
                raise
    upload = client.begin_upload().id
    checkpoint.save(upload)
    return upload, list(files)


def _read_label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--label {text!r} is not KEY=VALUE")
    return key, value


def job_key(upload: str, document: Mapping[str, Any]) -> str:
    """Return the idempotency key of a job of an upload: the same document gives the same key."""
    text = json.dumps([upload, document], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Downloaded:
    """All results, those that were in the folder before, and the bytes that were downloaded."""

    results: int = 0
    present: int = 0
    bytes: int = 0


def download_results(client: Client, job: str, folder: Path, progress: Progress, *, replace: bool) -> Downloaded:
    """Save the results that a job has so far; files with the right checksum are kept as they are.

    Raises:
        LocalFileError: a name leads out of the folder, a file cannot be written, or without `replace` there is one with
            other content.
    """
    downloaded = Downloaded()
    lock = threading.Lock()

    def count(result: Result, is_new: bool) -> None:
        with lock:
            downloaded.results += 1
            downloaded.present += not is_new
            downloaded.bytes += result.size if is_new else 0
        progress.add_download()

    try:
        client.download_all(job, folder, replace=replace, on_saved=count)
    except KeyboardInterrupt:  # the threads may be in the middle of a file
        remove_partial_files(folder)
        raise
    return downloaded
