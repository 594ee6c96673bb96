"""Submission of a job: its document from the command line, the upload of its images, and the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.job_options import JobOptions
from penstock.cli.progress import Progress
from penstock.client.errors import RefusedError
from penstock.client.local_files import Photo, find_photos
from penstock.client.upload_checkpoint import UploadCheckpoint, job_key
from penstock.common.model.rest import Job

if TYPE_CHECKING:
    from penstock.client.sync_client import Client


@dataclass(frozen=True)
class Submission:
    """A job document with its inputs, or without inputs and with the files of this host that become them."""

    document: dict[str, Any]
    files: list[Photo]


def read_submission(
    job: JobOptions, paths: Sequence[str], labels: Sequence[str], fields: Mapping[str, Any]
) -> Submission:
    """Return what the command line says; `fields` that are not None replace those of `--job`.

    Raises:
        UsageError: no operations, no images, or both files and URIs.
        LocalFileError: a path or glob that matches nothing.
    """
    document = job.document()
    if "operations" not in document:
        raise click.UsageError("no operations given; use --op or --job")
    document |= {name: value for name, value in fields.items() if value is not None}
    if labels:
        document["labels"] = {**document.get("labels", {}), **dict(map(_read_label, labels))}
    uris = [path for path in paths if "://" in path]
    if uris and len(uris) < len(paths):
        raise click.UsageError("files on this host and URIs cannot be combined; submit two jobs")
    if paths and "inputs" in document:
        raise click.UsageError("--job has inputs already; give no PATHS, or remove them from it")
    if uris:
        return Submission({**document, "inputs": [{"prefix": uri} if uri.endswith("/") else uri for uri in uris]}, [])
    if "inputs" in document:
        return Submission(document, [])
    files = find_photos(paths)
    if not files:
        raise click.UsageError(f"no images in {', '.join(paths)}" if paths else "no images given")
    return Submission(document, files)


def send(client: Client, submission: Submission, checkpoint: UploadCheckpoint, progress: Progress) -> Job:
    """Upload the files that are missing on the server, then create their job. A repeated call creates no second job."""
    if not submission.files:
        return client.submit(submission.document)
    _validate(client, submission.document)
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


def _validate(client: Client, document: Mapping[str, Any]) -> None:
    """Let the server refuse the document before the upload, not after it."""
    try:
        client.estimate(document)
    except RefusedError as error:
        if error.code != "no_images":
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
