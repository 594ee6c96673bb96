"""The commands for jobs. Only click is loaded here; what a command needs is loaded when it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.client.errors import LocalFileError, RefusedError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from penstock.cli.transfer_progress import Reporter
    from penstock.client.models import Job
    from penstock.client.sync_client import Client

STATES = ["accepted", "running", "succeeded", "partial", "failed", "cancelled"]

server_option = click.option(
    "--server", metavar="URL", help="The server.  [default: PENSTOCK_SERVER, or http://127.0.0.1:8080]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, and no progress.")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|URIS]...")
@server_option
@click.option("--op", "ops", multiple=True, metavar="NAME[=VALUE]", help="An operation; repeat for more, in order.")
@click.option("--job", "job_file", type=click.Path(exists=True, dir_okay=False), help="A job document, as JSON.")
@click.option("--output", type=click.Choice(["jpg", "png"]), help="Format of the results.  [default: jpg]")
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality.  [default: 95]")
@click.option("--effort", type=click.IntRange(0, 3), help="PNG effort, 0 fastest to 3 smallest.")
@click.option("--name", help="What to call the job.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeat for more.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher goes first.  [default: 0]")
@click.option("--results", metavar="URI", help="A folder of a bucket to write results to.")
@click.option("--wait", is_flag=True, help="Stay until the job has ended.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to save results in; waits.")
@json_option
def submit(
    paths: tuple[str, ...],
    server: str | None,
    ops: tuple[str, ...],
    job_file: str | None,
    labels: tuple[str, ...],
    wait: bool,
    out: Path | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Send a job to a server: files, folders and globs of this host, or URIs that the server reads.

    Interrupted, the same command goes on where it was: each file is sent once, each result fetched once. A job of URIs
    goes on without it.
    """
    from penstock.cli.submit import read_order, send
    from penstock.client.upload_checkpoint import UploadCheckpoint
    from penstock.common.settings import ClientSettings, load

    order = read_order(paths, ops, job_file, labels, fields)
    again = "the same command goes on where this one was" if order.photos else ""
    with _connected(server) as client, _reporter(as_json) as report:
        memory = UploadCheckpoint(load(ClientSettings).state, client.server, order.photos)
        with _interruptible(again or "penstock jobs shows whether it came to a job"):
            job = send(client, order, memory, report)
        if not (wait or out):
            memory.forget()
            _say(as_json, job, f"job {job.id} {job.state}: {job.images.total} images; {client.server}/v1/jobs/{job.id}")
            return
        with _interruptible(again or f"job {job.id} is not: penstock status shows it, penstock results saves it"):
            code = _finish(client, client.wait(job.id, on_progress=report.progress), out, report, as_json=as_json)
        memory.forget()
    sys.exit(code)


@click.command()
@server_option
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--label", metavar="KEY=VALUE", help="Only jobs with this label.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
@json_option
def jobs(server: str | None, state: str | None, label: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    from penstock.cli.formatting import show_jobs

    with _connected(server) as client:
        found = list(client.jobs(state=state, label=label, limit=limit))
    _say(as_json, {"jobs": [_document(job) for job in found]}, show_jobs(found))


@click.command()
@click.argument("job", metavar="ID")
@server_option
@click.option("--watch", is_flag=True, help="Stay until the job has ended.")
@json_option
def status(job: str, server: str | None, watch: bool, as_json: bool) -> None:
    """Show how far a job is, and whether its webhook was told of its end."""
    from penstock.cli.formatting import show_job, show_webhook

    with _connected(server) as client:
        if not watch:
            found = client.job(job)
            notices = client.deliveries(job) if found.webhook else []
            document = _document(found) | {"notices": [_document(notice) for notice in notices]}
            _say(as_json, document, "\n".join([show_job(found), *show_webhook(found.webhook, notices)]))
            return
        with _reporter(as_json) as report:
            ended = client.wait(job, on_progress=_tell_changes() if as_json else report.progress)
            sys.exit(_exit_code(ended) if as_json else _finish(client, ended, None, report, as_json=False))


@click.command()
@click.argument("job", metavar="ID")
@server_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to save them in.")
@json_option
def results(job: str, server: str | None, out: Path, as_json: bool) -> None:
    """Save what a job has made so far, checksums verified; run again, it fetches only what is missing."""
    with _connected(server) as client, _reporter(as_json) as report:
        found = client.job(job)
        if not found.has_ended:
            click.echo(f"job {job} is {found.state}; these are its results so far", err=True)
        sys.exit(_finish(client, found, out, report, as_json=as_json))


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@server_option
@json_option
def cancel(ids: tuple[str, ...], server: str | None, as_json: bool) -> None:
    """Stop jobs; results made so far stay."""
    found, refusals = [], []
    with _connected(server) as client:
        for job in ids:
            try:
                found.append(client.cancel(job))
            except RefusedError as error:  # the others shall not go on because of it
                refusals.append(error)
    _say(as_json, {"jobs": [_document(job) for job in found]}, "\n".join(f"job {job.id} {job.state}" for job in found))
    for refusal in refusals:
        click.echo(f"penstock: {refusal.message}", err=True)
    sys.exit(RefusedError.exit_code if refusals else 0)


@click.command()
@click.argument("job", metavar="ID")
@server_option
@click.option("--image", "images", type=click.IntRange(min=0), multiple=True, help="Only this one; repeat for more.")
@json_option
def retry(job: str, server: str | None, images: tuple[int, ...], as_json: bool) -> None:
    """Try a job's failed images again."""
    with _connected(server) as client:
        retried = client.retry(job, images or None)
    _say(as_json, retried, f"job {retried.id} {retried.state}: {retried.retried} images are tried again")


@click.command()
@server_option
@json_option
def steps(server: str | None, as_json: bool) -> None:
    """Show every step, how busy it is, and which one holds the system back."""
    from penstock.cli.formatting import show_steps

    with _connected(server) as client:
        found = client.system()
    _say(as_json, found, show_steps(found.steps, found.advice))


@click.command()
@server_option
@json_option
def operations(server: str | None, as_json: bool) -> None:
    """List the operations that the server's jobs can name."""
    from penstock.cli.formatting import show_operations

    with _connected(server) as client:
        found = client.operations()
    _say(as_json, {"operations": [_document(operation) for operation in found]}, show_operations(found))


COMMANDS = (submit, jobs, status, results, cancel, retry, steps, operations)


@contextmanager
def _connected(server: str | None) -> Iterator[Client]:
    try:
        from penstock.client.sync_client import Client
    except ModuleNotFoundError as error:
        raise LocalFileError(f"{error.name} is not installed; pip install 'penstock[client]' brings it") from error
    with Client(server) as client:
        yield client


@contextmanager
def _interruptible(what_then: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"interrupted; {what_then}", err=True)
        raise


@contextmanager
def _reporter(as_json: bool) -> Iterator[Reporter]:
    from penstock.cli.transfer_progress import make_reporter

    report = make_reporter(as_json=as_json)
    try:
        yield report
    finally:
        report.close()


def _finish(client: Client, job: Job, out: Path | None, report: Reporter, *, as_json: bool) -> int:
    """Save a job's results if that is wanted, and tell how it went; return the exit code."""
    from itertools import islice

    from penstock.cli.download import fetch
    from penstock.cli.formatting import SHOWN_FAILURES, show_end, show_failures

    fetched = fetch(client, job.id, out, report) if out else None
    failures = list(islice(client.images(job.id, state="failed"), SHOWN_FAILURES)) if job.images.failed else []
    report.close()
    document = _document(job) | {"failures": [{"image": image.name, **_document(image.error)} for image in failures]}
    lines = [show_end(job), *show_failures(failures, job.images.failed)]
    if fetched is not None:
        document["saved"] = {"out": str(out), **vars(fetched)}
        lines.append(f"{fetched.results} results in {out}, {fetched.present} of them there before")
    _say(as_json, document, "\n".join(lines))
    return _exit_code(job)


def _exit_code(job: Job) -> int:
    return int(job.state != "succeeded" and (job.has_ended or job.images.failed > 0))


def _tell_changes() -> Any:
    """Return what writes a job as a line of JSON whenever it has changed."""
    shown: list[dict[str, Any]] = [{}]

    def tell(job: Job) -> None:
        document = _document(job)
        if document != shown[0]:
            click.echo(json.dumps(document))
        shown[0] = document

    return tell


def _say(as_json: bool, document: BaseModel | dict[str, Any], text: str) -> None:
    from penstock.cli.formatting import printable

    if as_json:
        click.echo(json.dumps(document if isinstance(document, dict) else _document(document)))
    elif text:
        click.echo("\n".join(map(printable, text.split("\n"))))


def _document(model: BaseModel | None) -> dict[str, Any]:
    return {} if model is None else model.model_dump(mode="json")
