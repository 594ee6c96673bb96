"""Commands for jobs on a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.job_ids import complete_job, find_job
from penstock.cli.job_options import JobOptions, job_options
from penstock.client.errors import RefusedError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from penstock.cli.progress import Progress
    from penstock.client.sync_client import Client
    from penstock.common.model.rest import Image, Job

STATES = ["accepted", "running", "succeeded", "partial", "failed", "cancelled"]
_RESUME = "run the same command again to resume"

_job_argument = click.argument("job", metavar="ID", shell_complete=complete_job)
server_option = click.option(
    "-s", "--server", metavar="URL", help="The server.  [default: PENSTOCK_SERVER, or http://127.0.0.1:8080]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, and no progress.")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|URIS]...")
@server_option
@job_options
@click.option("--name", help="Name of the job.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeat for more.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher runs first.  [default: 0]")
@click.option("--from-job", metavar="ID", help="Process the images of an earlier job, without sending them again.")
@click.option("--expire-after", metavar="TIME", help="Delete the job this long after its end, such as 12h or 7d.")
@click.option(
    "--deadline", metavar="TIME", help="When it should have ended: in 90s, 10m or 2h, or at a time (RFC 3339)."
)
@click.option("--deadline-strict", is_flag=True, default=None, help="Refuse the job if its deadline cannot be met.")
@click.option("--max-price", type=click.FloatRange(min=0, min_open=True), help="The most that it may cost.")
@click.option("--results", metavar="URI", help="Folder of a bucket to write results to.")
@click.option("-w", "--wait", is_flag=True, help="Wait until the job has ended.")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to save results in; implies --wait.",
)
@json_option
def submit(
    job: JobOptions,
    paths: tuple[str, ...],
    server: str | None,
    labels: tuple[str, ...],
    from_job: str | None,
    wait: bool,
    out: Path | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Submit a job to a server: files, folders and globs on this host, or URIs that the server reads.

    If it is interrupted, the same command resumes it: each file is uploaded once, each result downloaded once. A job
    of URIs continues without the command.
    """
    from penstock.cli.formatting import format_deadline, format_skipped
    from penstock.cli.transfers import (
        UploadCheckpoint,
        find_accepted_types,
        find_other_types,
        keep_types,
        read_submission,
        send,
    )
    from penstock.common.folders import describe_skipped
    from penstock.common.settings import ClientSettings, load

    if from_job is not None:
        with _connect(server) as client:
            fields["inputs"] = [{"job": find_job(client, from_job)}]
    submission = read_submission(job, paths, labels, fields)  # refuses wrong usage before it looks for the server
    resume = _RESUME if submission.files else ""
    with _connect(server) as client, _show_progress(as_json) as progress:
        if submission.files:
            types = find_accepted_types(client)
            submission = keep_types(submission, paths, types)
            if others := find_other_types(submission.files, types):
                click.echo(f"{len(others)} not read by this server: {describe_skipped(others)}", err=True)
        if submission.ignored:
            click.echo(f"{len(submission.ignored)} ignored: {describe_skipped(submission.ignored)}", err=True)
        ignored = {"ignored": [{"file": name, "reason": reason} for name, reason in submission.ignored]}
        checkpoint = UploadCheckpoint(load(ClientSettings).state, client.server, submission.files)
        with _on_interrupt(resume or "penstock jobs shows whether the job was created"), _locate_errors(job):
            created = send(client, submission, checkpoint, progress)
        if not as_json:
            for line in format_skipped(created):
                click.echo(line, err=True)
        if not (wait or out):
            checkpoint.remove()
            url = _url(client, created)
            _print(
                as_json,
                _document(created) | ignored,
                "\n".join(
                    [
                        f"job {created.id} {created.state}: {created.images.total} images; {url}",
                        *format_deadline(created),
                    ]
                ),
            )
            return
        continues = f"job {created.id} continues: see penstock status, then penstock results"
        with _on_interrupt(resume or continues):
            ended = client.wait(created.id, on_progress=progress.show_job)
            exit_code = _finish(client, ended, out, progress, as_json=as_json, more=ignored)
        checkpoint.remove()
    sys.exit(exit_code)


@click.command()
@server_option
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--label", metavar="KEY=VALUE", help="Only jobs with this label.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Number of jobs.")
@json_option
def jobs(server: str | None, state: str | None, label: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    from penstock.cli.formatting import format_jobs

    with _connect(server) as client:
        found = list(client.jobs(state=state, label=label, limit=limit))
    _print(as_json, {"jobs": [_document(job) for job in found]}, format_jobs(found))


@click.command()
@_job_argument
@server_option
@click.option("-w", "--watch", is_flag=True, help="Wait until the job has ended.")
@json_option
def status(job: str, server: str | None, watch: bool, as_json: bool) -> None:
    """Show a job: its progress, its failures, and whether its webhook was delivered."""
    from penstock.cli.formatting import format_failures, format_job, format_webhook

    with _connect(server) as client:
        job = find_job(client, job)
        if not watch:
            found = client.job(job)
            notices = client.deliveries(job) if found.webhook else []
            failures = _first_failures(client, found)
            document = _document(found) | {"notices": [_document(notice) for notice in notices]}
            lines = [format_job(found, _url(client, found)), *format_failures(failures, found.images.failed)]
            lines += format_webhook(found.webhook, notices)
            _print(as_json, document | _failures_document(failures), "\n".join(lines))
            return
        with _show_progress(as_json) as progress:
            ended = client.wait(job, on_progress=_print_changes() if as_json else progress.show_job)
            sys.exit(_exit_code(ended) if as_json else _finish(client, ended, None, progress, as_json=False))


@click.command()
@_job_argument
@server_option
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to save them in."
)
@click.option("--force", is_flag=True, help="Replace files that have other content.")
@json_option
def results(job: str, server: str | None, out: Path, force: bool, as_json: bool) -> None:
    """Download a job's results so far and verify their checksums. A second run gets only what is missing."""
    with _connect(server) as client, _show_progress(as_json) as progress:
        job = find_job(client, job)
        found = client.job(job)
        if not found.has_ended:
            click.echo(f"job {job} is {found.state}: downloading its results so far", err=True)
        sys.exit(_finish(client, found, out, progress, as_json=as_json, replace=force))


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_job)
@server_option
@json_option
def cancel(ids: tuple[str, ...], server: str | None, as_json: bool) -> None:
    """Cancel jobs; results made so far stay."""
    cancelled, refusals = [], []
    with _connect(server) as client:
        for job in ids:
            try:
                cancelled.append(client.cancel(find_job(client, job)))
            except RefusedError as error:  # the other jobs are cancelled all the same
                refusals.append(error)
    text = "\n".join(f"job {job.id} {job.state}" for job in cancelled)
    _print(as_json, {"jobs": [_document(job) for job in cancelled]}, text)
    for refusal in refusals:
        click.echo(f"penstock: {refusal.message}", err=True)
    sys.exit(max((refusal.exit_code for refusal in refusals), default=0))


@click.command()
@_job_argument
@server_option
@click.option("--image", "images", type=click.IntRange(min=0), multiple=True, help="Only this image; repeat for more.")
@click.option("--code", help="Only images that failed with this error code, such as step_timeout.")
@click.option("--all", "everything", is_flag=True, help="Also images that a retry is not expected to help.")
@json_option
def retry(
    job: str, server: str | None, images: tuple[int, ...], code: str | None, everything: bool, as_json: bool
) -> None:
    """Retry a job's failed images: those that a retry may help."""
    if images and (everything or code):
        raise click.UsageError(f"both --image and {'--all' if everything else '--code'}; accepted is one of them")
    with _connect(server) as client:
        retried = client.retry(find_job(client, job), images or None, everything=everything, code=code)
    text = f"job {retried.id} {retried.state}: retrying {retried.retried} images"
    if not images and not code and retried.images.failed:
        text += f"; {retried.images.failed} others would fail again (--all retries them as well)"
    _print(as_json, retried, text)


@click.command()
@server_option
@json_option
def steps(server: str | None, as_json: bool) -> None:
    """Show every step, how busy it is, and which one is the bottleneck."""
    from penstock.cli.formatting import format_steps

    with _connect(server) as client:
        found = client.system()
    _print(as_json, found, format_steps(found.steps, found.advice))


@click.command()
@server_option
@json_option
def operations(server: str | None, as_json: bool) -> None:
    """List the operations that the server offers."""
    from penstock.cli.formatting import format_operations

    with _connect(server) as client:
        found = client.operations()
    _print(as_json, {"operations": [_document(operation) for operation in found]}, format_operations(found))


@click.command()
@server_option
@json_option
def usage(server: str | None, as_json: bool) -> None:
    """Show how many bytes of uploads and results the server keeps, and how many it may."""
    from penstock.cli.formatting import format_usage

    with _connect(server) as client:
        found = client.usage()
    _print(as_json, found, format_usage(found))


@contextmanager
def _connect(server: str | None) -> Iterator[Client]:
    from penstock.client.config import check_listening
    from penstock.client.sync_client import Client
    from penstock.common.environment import warn_of_misspelt_variables

    warn_of_misspelt_variables()
    with Client(server) as client:
        check_listening(client.server)
        yield client


@contextmanager
def _locate_errors(job: JobOptions) -> Iterator[None]:
    """Show the pointer of a refusal only to those who wrote the document that it leads into."""
    try:
        yield
    except RefusedError as error:
        error.message = f"{job.locate(error.pointer)}{error.detail}"
        raise


@contextmanager
def _on_interrupt(advice: str) -> Iterator[None]:
    """Print advice if the user presses Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"interrupted; {advice}", err=True)
        raise


@contextmanager
def _show_progress(as_json: bool) -> Iterator[Progress]:
    from penstock.cli.progress import make_progress

    progress = make_progress(as_json=as_json)
    try:
        yield progress
    finally:
        progress.close()


def _finish(
    client: Client,
    job: Job,
    out: Path | None,
    progress: Progress,
    *,
    as_json: bool,
    more: dict[str, Any] | None = None,
    replace: bool = False,
) -> int:
    """Save a job's results in `out`, if given, and print its outcome, as JSON with `more`; return the exit code."""
    from penstock.cli.formatting import format_failures, format_outcome
    from penstock.cli.transfers import download_results

    downloaded = download_results(client, job.id, out, progress, replace=replace) if out else None
    failures = _first_failures(client, job)
    progress.close()
    document = _document(job) | _failures_document(failures) | (more or {})
    lines = [format_outcome(job), *format_failures(failures, job.images.failed)]
    if downloaded is not None:
        document["saved"] = {"out": str(out), **vars(downloaded)}
        lines.append(f"{downloaded.results} results in {out}, {downloaded.present} of them from before")
    _print(as_json, document, "\n".join(lines))
    return _exit_code(job)


def _first_failures(client: Client, job: Job) -> list[Image]:
    from itertools import islice

    from penstock.cli.formatting import MAX_FAILURES

    return list(islice(client.images(job.id, state="failed"), MAX_FAILURES)) if job.images.failed else []


def _failures_document(failures: Iterable[Image]) -> dict[str, Any]:
    return {"failures": [{"image": image.name, **_document(image.error)} for image in failures]}


def _url(client: Client, job: Job) -> str:
    return f"{client.server}/v1/jobs/{job.id}"


def _exit_code(job: Job) -> int:
    return int(job.state != "succeeded" and (job.has_ended or job.images.failed > 0))


def _print_changes() -> Callable[[Job], None]:
    """Return a function that prints a job as a line of JSON whenever it has changed."""
    last: dict[str, Any] = {}

    def print_change(job: Job) -> None:
        nonlocal last
        document = _document(job)
        if document != last:
            click.echo(json.dumps(document))
        last = document

    return print_change


def _print(as_json: bool, document: BaseModel | dict[str, Any], text: str) -> None:
    from penstock.cli.formatting import printable

    if as_json:
        click.echo(json.dumps(document if isinstance(document, dict) else _document(document)))
    elif text:
        click.echo("\n".join(map(printable, text.split("\n"))))


def _document(model: BaseModel | None) -> dict[str, Any]:
    return {} if model is None else model.model_dump(mode="json")
