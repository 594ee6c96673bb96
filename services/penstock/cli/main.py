"""The command line. Everything but click is imported by the command that needs it, so that help comes at once."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock import __version__
from penstock.cli.jobs import COMMANDS
from penstock.cli.plan import plan as plan_command
from penstock.common.model.errors import PenstockError

if TYPE_CHECKING:
    from penstock.common.model.operations import Encode
    from penstock.common.model.plan import Plan
    from penstock.common.settings import Limits, WorkerSettings
    from penstock.local.docker.runner import DockerRunner

USED_WRONGLY = 2
REFUSED = 3
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Run ordered image operations over whole batches of photographs."""


@cli.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--op", "ops", multiple=True, metavar="NAME[=VALUE]", help="An operation; repeat for more, in order.")
@click.option("--job", "job_file", type=click.Path(exists=True, dir_okay=False), help="Operations and output as JSON.")
@click.option("--output", type=click.Choice(["jpg", "png"]), help="Format of the results.  [default: jpg]")
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality.  [default: 95]")
@click.option("--effort", type=click.IntRange(0, 3), help="PNG effort, 0 fastest to 3 smallest.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
@click.option(
    "--runner",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Worker processes, or a container for each step.",
)
@click.option("--image", "images", multiple=True, metavar="STEP=IMAGE", help="A step's image; repeat for more.")
@click.option("--parallel", type=click.IntRange(min=1), help="Workers, or chains of containers.  [default: one a core]")
@click.option("--force", is_flag=True, help="Replace results of other operations in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON, and no progress.")
def run(
    paths: tuple[str, ...],
    ops: tuple[str, ...],
    job_file: str | None,
    output: str | None,
    quality: int | None,
    effort: int | None,
    out: Path,
    runner: str,
    images: tuple[str, ...],
    parallel: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Process files, folders and globs on this host; run again, it does only what is missing."""
    from penstock.worker.process.forkserver import start_forker

    if runner == "process":
        if images:
            raise click.UsageError("--image names a container's image; it goes with --runner docker")
        start_forker()  # the workers' libraries load while this process loads its own
    from penstock.common.logs import set_up_logs
    from penstock.common.registry import declare_steps
    from penstock.common.settings import Limits, WorkerSettings, load
    from penstock.local.inputs import Inputs
    from penstock.local.progress import make_progress
    from penstock.local.run import RunOptions, default_workers
    from penstock.local.run import run as run_inputs

    set_up_logs("penstock")
    limits, settings = load(Limits), load(WorkerSettings)
    declare_steps(settings.step_schemas)
    docker = _prepare_docker(images, limits, settings, out) if runner == "docker" else None
    plan = _read_plan(ops, job_file, {"format": output, "quality": quality, "effort": effort}, limits)
    workers = parallel or default_workers()
    options = RunOptions(plan, out, workers, force, limits, settings)
    if docker is not None:
        options = docker.complete(options, parallel)
    summary = run_inputs(Inputs(paths, out), options, make_progress(as_json=as_json))
    if as_json:
        click.echo(json.dumps({"out": str(out), **vars(summary)}, default=str))
    else:
        click.echo("\n".join(summary.lines(str(out))))
    sys.exit(summary.exit_code)


@cli.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 8080]")
@click.option("--data", type=click.Path(file_okay=False), help="Folder of the state.  [default: penstock-data]")
@click.option("--workers", type=int, help="Worker processes.  [default: one a core]")
@click.option(
    "--placement", type=click.Choice(["fused", "per_step"]), help="All steps in each worker, or each its own."
)
@click.option("--input-root", type=click.Path(file_okay=False, exists=True), help="Folder jobs may take inputs from.")
@click.option("--broker", metavar="URL", help="RabbitMQ instead of queues in memory: amqp://user:password@host.")
def serve(broker: str | None, **given: Any) -> None:
    """Serve the REST API with workers on this host."""
    from penstock.common.settings import BrokerSettings, Limits, ServeSettings, StoreSettings, WorkerSettings, load
    from penstock.local.serve import serve as serve_here

    settings, broker_settings = load(ServeSettings, **given), load(BrokerSettings, broker_url=broker)
    sys.exit(serve_here(settings, load(Limits), load(WorkerSettings), broker_settings, load(StoreSettings)))


@cli.command()
@click.option(
    "--steps", metavar="NAMES", help="Steps to serve, with commas between; neighbours run as one.  [default: all]"
)
@click.option("--broker", "broker_url", metavar="URL", help="RabbitMQ: amqp://user:password@host:port/vhost.")
@click.option(
    "--store", "store_url", metavar="URL", help="Where the pictures lie, such as s3://bucket or file:///folder."
)
@click.option("--concurrency", type=int, help="Processes that work beside each other.  [default: 1]")
@click.option("--input-root", type=click.Path(file_okay=False), help="Folder jobs may take inputs from.")
@click.option("--alive", is_flag=True, help="Serve nothing: tell by exit status 0 or 1 whether a worker here gets on.")
def worker(broker_url: str | None, store_url: str | None, alive: bool, **given: Any) -> None:
    """Serve steps to a coordinator, over RabbitMQ and a store that both can reach."""
    from penstock.common.settings import (
        BrokerSettings,
        KubernetesSettings,
        Limits,
        StoreSettings,
        WorkerSettings,
        load,
    )
    from penstock.worker.process.main import check_alive, work

    if alive:
        sys.exit(check_alive(load(WorkerSettings, **given)))
    broker, store = load(BrokerSettings, broker_url=broker_url), load(StoreSettings, store_url=store_url)
    sys.exit(work(load(WorkerSettings, **given), load(Limits), broker, store, load(KubernetesSettings)))


@cli.command()
@click.option("--steps", metavar="NAMES", help="Steps to perform, with commas between.  [default: all]")
@click.option(
    "--root", type=click.Path(file_okay=False, path_type=Path), help="Folder that no file may lie outside of."
)
def stdio(steps: str | None, root: Path | None) -> None:
    """Perform steps for whoever writes requests to stdin, one JSON object a line."""
    from penstock.common.settings import Limits, WorkerSettings, load
    from penstock.worker.executors.stdio_command import speak

    sys.exit(speak(load(WorkerSettings, steps=steps), load(Limits), root))


@cli.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 8080]")
@click.option("--broker", metavar="URL", help="RabbitMQ, amqp://user:password@host.")
@click.option("--store", metavar="URL", help="Where pictures lie, such as s3://bucket.  [default: a folder in --data]")
@click.option("--database", metavar="URL", help="postgresql://user:password@host/name.  [default: SQLite in --data]")
@click.option("--data", type=click.Path(file_okay=False), help="Folder of the state.  [default: penstock-data]")
@click.option("--input-root", type=click.Path(file_okay=False, exists=True), help="Folder jobs may take inputs from.")
def coordinator(broker: str | None, store: str | None, database: str | None, **given: Any) -> None:
    """Serve the REST API and dispatch to workers on other hosts, over RabbitMQ."""
    from penstock.common.settings import (
        BrokerSettings,
        CoordinatorSettings,
        KubernetesSettings,
        Limits,
        StoreSettings,
        WorkerSettings,
        load,
    )
    from penstock.coordinator.main import coordinate

    settings = load(CoordinatorSettings, database_url=database, **given)
    broker_settings, store_settings = load(BrokerSettings, broker_url=broker), load(StoreSettings, store_url=store)
    more = load(Limits), load(WorkerSettings), load(KubernetesSettings)
    sys.exit(coordinate(settings, broker_settings, store_settings, *more))


@cli.command()
@click.argument("name")
@click.option("--weight", type=int, help="Its share of the workers beside other keys.  [default: 1]")
@click.option("--max-priority", type=int, help="The highest priority its jobs may ask for.  [default: 0]")
@click.option("--max-open-jobs", type=int, help="Jobs it may have that have not ended.")
@click.option("--max-open-images", type=int, help="Images it may have that have not ended.")
@click.option("--images-per-day", type=int, help="Images it may send from midnight to midnight, UTC.")
@click.option("--admin", is_flag=True, help="Let it see and change everybody's jobs.")
def key(name: str, **given: Any) -> None:
    """Make an API key: prints it, this once, and then its entry for the server's PENSTOCK_API_KEYS."""
    from penstock.coordinator.auth.keys import make_key

    token, entry = make_key(name, **{field: value for field, value in given.items() if value is not None})
    click.echo(token)
    click.echo(json.dumps(entry.model_dump(exclude_defaults=True)))


@cli.command()
@click.option("--images", type=click.IntRange(min=1), help="Pictures per workload.  [default: the workload's own]")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Turns for each.")
@click.option("--photos", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Photographs to use.")
@click.option("--workload", "workloads", multiple=True, metavar="NAME", help="Only this workload; repeat for more.")
@click.option("--contestant", "contestants", multiple=True, metavar="NAME", help="Only this one; repeat for more.")
@click.option("--latency/--no-latency", default=True, show_default=True, help="Time single pictures as well.")
@click.option("--broker", metavar="URL", help="Take part over this RabbitMQ as well, which nobody else uses.")
@click.option("--server", metavar="URL", help="Measure this running installation instead, by its REST API.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of tables.")
def bench(server: str | None, **options: Any) -> None:
    """Measure Penstock against a plain OpenCV pool on the same cores, or an installation that runs."""
    if server is None:
        from penstock.benchmark.bench.runner import run_bench

        sys.exit(run_bench(**options))
    from penstock.benchmark.bench.remote import read_server, run_server_bench

    if any([options.pop("broker"), options.pop("contestants")]):
        raise click.UsageError("--server measures one installation; --broker and --contestant go without it")
    sys.exit(run_server_bench(read_server(server), **options))


for command in (*COMMANDS, plan_command):
    cli.add_command(command)


def _prepare_docker(images: tuple[str, ...], limits: Limits, settings: WorkerSettings, out: Path) -> DockerRunner:
    from penstock.common.settings import ContainerSettings, load
    from penstock.local.docker.runner import DockerRunner, read_images

    return DockerRunner.prepare(read_images(images), load(ContainerSettings), limits, settings, out)


def _read_plan(ops: tuple[str, ...], job_file: str | None, encode: dict[str, Any], limits: Limits) -> Plan:
    """Return the plan of `--op` and `--output`, or of a job document."""
    from penstock.common.model.op_syntax import read_op
    from penstock.common.model.plan import make_plan

    raw: list[Any] = [read_op(op) for op in ops]
    if job_file is not None:
        if raw:
            raise click.UsageError("--op and --job both name operations; give one of them")
        raw = _read_job(job_file, encode)
    return make_plan(raw, _make_encode(encode), limits)


def _make_encode(given: dict[str, Any]) -> Encode | None:
    from penstock.common.model.operations import Encode

    fields = {name: value for name, value in given.items() if value is not None}
    return Encode.model_validate(fields) if fields else None


def _read_job(job_file: str, encode: dict[str, Any]) -> list[Any]:
    """Return the operations of a job document; what it says of the output fills what the options leave open."""
    from pydantic import ValidationError

    from penstock.common.model.jobs import JobDocument

    try:
        document = JobDocument.model_validate_json(Path(job_file).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise click.UsageError(f"--job {job_file}: {where}: {first['msg']}") from error
    given = {"format": document.output, "quality": document.quality, "effort": document.effort}
    for name, value in given.items():
        if encode[name] is None:
            encode[name] = value
    return document.operations


def main() -> None:
    """Run the command line; one line for each thing that is wrong, and the exit codes of the contract."""
    _hear_sigterm_from_the_start()
    from penstock.common.model.errors import PlanError

    try:
        sys.exit(cli(prog_name="penstock", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):  # click makes the one of the other, and would end with 1
        sys.exit(INTERRUPTED)
    except PlanError as error:
        _leave(f"{error.pointer}: {error.message}", USED_WRONGLY)
    except PenstockError as error:
        refused = error.code in ("port_in_use", "data_in_use", "data_unusable", "unavailable", "refused")
        _leave(error.message, getattr(error, "exit_code", REFUSED if refused else USED_WRONGLY))


def _hear_sigterm_from_the_start() -> None:
    """Let a container end while it starts: signals that a first process does not handle never reach it."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def _leave(message: str, status: int) -> None:
    click.echo(f"penstock: {message}", err=True)
    sys.exit(status)
