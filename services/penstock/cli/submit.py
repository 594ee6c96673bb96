"""`penstock submit`: the job document from the command line, the pictures on their way, and the job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.transfer_progress import Reporter
from penstock.client.errors import RefusedError
from penstock.client.local_files import Photo, find_photos
from penstock.client.models import Job
from penstock.client.upload_checkpoint import UploadCheckpoint, job_key
from penstock.common.model.op_syntax import read_op

if TYPE_CHECKING:
    from penstock.client.sync_client import Client


@dataclass(frozen=True)
class Order:
    """What was asked for: a document, with its inputs by reference or pictures of this host beside it."""

    document: dict[str, Any]
    photos: list[Photo]


def read_order(
    paths: Sequence[str], ops: Sequence[str], job_file: str | None, labels: Sequence[str], fields: Mapping[str, Any]
) -> Order:
    """Make a job document of the command line.

    Raises:
        UsageError: what cannot be: no pictures, both kinds of them, operations twice.
        LocalFileError: a path that leads to nothing.
    """
    document = _read_file(job_file) if job_file else {}
    if ops and "operations" in document:
        raise click.UsageError("--op and --job both name operations; give one of them")
    if ops:
        document["operations"] = [read_op(op) for op in ops]
    if "operations" not in document:
        raise click.UsageError("no operations are given; give --op or --job")
    document |= {name: value for name, value in fields.items() if value is not None}
    if labels:
        document["labels"] = {**document.get("labels", {}), **dict(map(_read_label, labels))}
    return _with_inputs(document, paths)


def send(client: Client, order: Order, memory: UploadCheckpoint, report: Reporter) -> Job:
    """Send what of the pictures is not there yet, then create their job; both as often as it takes, each once."""
    if not order.photos:
        return client.submit(order.document)
    _check(client, order.document)
    upload, missing = _resume(client, memory, order.photos)
    report.begin_sending(len(order.photos), len(order.photos) - len(missing))
    try:
        client.send_files(upload, missing, lambda _: report.sent())
        document = {**order.document, "inputs": [{"upload": upload}]}
        return client.submit(document, idempotency_key=job_key(upload, document))
    except RefusedError as error:
        if error.status in (404, 409):  # it is not what it was; the same command shall begin anew
            memory.forget()
        raise


def _check(client: Client, document: Mapping[str, Any]) -> None:
    """Have the document refused before the pictures are sent, not after."""
    try:
        client.estimate(document)
    except RefusedError as error:
        if error.code != "no_images":
            raise


def _resume(client: Client, memory: UploadCheckpoint, photos: Sequence[Photo]) -> tuple[str, list[Photo]]:
    upload = memory.recall()
    if upload is not None:
        try:
            there = {file.name: file.size for file in client.uploaded(upload)}
            return upload, [photo for photo in photos if there.get(photo.name) != photo.size_bytes]
        except RefusedError as error:
            if error.status != 404:
                raise
    upload = client.begin_upload().id
    memory.note(upload)
    return upload, list(photos)


def _with_inputs(document: dict[str, Any], paths: Sequence[str]) -> Order:
    uris = [path for path in paths if "://" in path]
    if uris and len(uris) < len(paths):
        raise click.UsageError("files of this host and URIs cannot come together; submit two jobs")
    if paths and "inputs" in document:
        raise click.UsageError("--job names inputs already; give no PATHS, or take them out of it")
    if uris:
        return Order({**document, "inputs": [_read_uri(uri) for uri in uris]}, [])
    if "inputs" in document:
        return Order(document, [])
    photos = find_photos(paths)
    if not photos:
        raise click.UsageError("no pictures are given" if not paths else f"no pictures in {', '.join(paths)}")
    return Order(document, photos)


def _read_uri(uri: str) -> str | dict[str, str]:
    return {"prefix": uri} if uri.endswith("/") else uri


def _read_label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--label {text!r} is not KEY=VALUE")
    return key, value


def _read_file(job_file: str) -> dict[str, Any]:
    try:
        document = json.loads(Path(job_file).read_bytes())
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--job {job_file}: this is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"--job {job_file}: this is not a job document, which is a JSON object")
    return document
