"""`penstock run`."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from penstock.cli.job_options import JobOptions, job_options

_OF_SERVERS = ("inputs", "results", "webhook", "on_failure")
"""Fields of a job document that say something about a server's jobs alone."""


@click.command()
@click.argument("paths", nargs=-1, required=True)
@job_options
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results."
)
@click.option(
    "--runner",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Worker processes, or a container for each step.",
)
@click.option("--image", "images", multiple=True, metavar="STEP=IMAGE", help="A step's image; repeat for more.")
@click.option(
    "--parallel", type=click.IntRange(min=1), help="Workers, or chains of containers.  [default: one per core]"
)
@click.option("--force", is_flag=True, help="Replace results of other operations in the folder.")
@click.option("--verify", is_flag=True, help="Compare earlier results with their checksums, and redo changed ones.")
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON, and no progress.")
def run(
    job: JobOptions,
    paths: tuple[str, ...],
    out: Path,
    runner: str,
    images: tuple[str, ...],
    parallel: int | None,
    force: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Process files, folders and globs on this host. A second run processes only what is missing."""
    from penstock.worker.process.supervisor import start_forkserver

    job.check_fields(_OF_SERVERS, "penstock run does not use it; remove it, or submit the job to a server")
    if runner == "process":
        if images:
            raise click.UsageError("--image names a container image; use it with --runner docker")
        if find_spec("cv2") is None:
            raise ModuleNotFoundError("workers need it", name="cv2")
        start_forkserver()  # loads the workers' libraries while this process loads its own
    from penstock.cli.progress import make_progress
    from penstock.common.environment import warn_of_misspelt_variables
    from penstock.common.logs import set_up_logs
    from penstock.common.registry import declare_steps
    from penstock.common.settings import ContainerSettings, RunLimits, WorkerSettings, load
    from penstock.local.inputs import Inputs
    from penstock.local.run import RunOptions, default_workers
    from penstock.local.run import run as run_inputs

    set_up_logs("penstock")
    warn_of_misspelt_variables()
    limits, settings = load(RunLimits), load(WorkerSettings)
    declare_steps(settings.declared_steps)
    docker = None
    if runner == "docker":
        from penstock.local.docker.runner import DockerRunner, read_images  # loads OpenCV

        docker = DockerRunner.prepare(read_images(images), load(ContainerSettings), limits, settings, out)
    plan, names = job.read(limits)
    options = RunOptions(plan, out, parallel or default_workers(), force, limits, settings, names, verify)
    if docker is not None:
        options = docker.complete(options, parallel)
    summary = run_inputs(Inputs(paths, out, limits.types), options, make_progress(as_json=as_json))
    if as_json:
        click.echo(json.dumps({"out": str(out), **vars(summary)}, default=str))
    elif not summary.stopped:
        click.echo("\n".join(summary.lines(str(out))))
    if summary.stopped:
        click.echo(f"penstock: {summary.stop_line}", err=True)
    sys.exit(summary.exit_code)
