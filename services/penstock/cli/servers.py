"""Commands that run Penstock: `serve`, `coordinator`, `worker` and `stdio`; and `key`, which creates API keys."""

import json
import sys
from pathlib import Path
from typing import Any

import click

_host_option = click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
_port_option = click.option("--port", type=int, help="Port to listen on; 0 picks a free one.  [default: 8080]")
_data_option = click.option(
    "--data", type=click.Path(file_okay=False), help="Folder for the state.  [default: penstock-data]"
)
_input_root_option = click.option(
    "--input-root", type=click.Path(file_okay=False, exists=True), help="Folder that jobs may read inputs from."
)


@click.command()
@_host_option
@_port_option
@_data_option
@click.option("--workers", type=int, help="Worker processes.  [default: one per core]")
@click.option(
    "--placement", type=click.Choice(["fused", "per_step"]), help="All steps in each worker, or one step per worker."
)
@_input_root_option
@click.option("--broker", metavar="URL", help="RabbitMQ instead of queues in memory: amqp://user:password@host.")
def serve(broker: str | None, **given: Any) -> None:
    """Serve the REST API with workers on this host."""
    from penstock.common.settings import BrokerSettings, Limits, ServeSettings, StoreSettings, WorkerSettings, load
    from penstock.local.serve import serve as serve_here

    settings, broker_settings = load(ServeSettings, **given), load(BrokerSettings, broker_url=broker)
    sys.exit(serve_here(settings, load(Limits), load(WorkerSettings), broker_settings, load(StoreSettings)))


@click.command()
@_host_option
@_port_option
@click.option("--broker", metavar="URL", help="RabbitMQ: amqp://user:password@host.")
@click.option("--store", metavar="URL", help="Store, such as s3://bucket.  [default: a folder in --data]")
@click.option("--database", metavar="URL", help="postgresql://user:password@host/name.  [default: SQLite in --data]")
@_data_option
@_input_root_option
def coordinator(broker: str | None, store: str | None, database: str | None, **given: Any) -> None:
    """Serve the REST API and dispatch images to workers on other hosts, over RabbitMQ."""
    from penstock.common.settings import (
        BrokerSettings,
        CoordinatorSettings,
        KubernetesSettings,
        Limits,
        StoreSettings,
        WorkerSettings,
        load,
    )
    from penstock.coordinator.main import run_coordinator

    settings = load(CoordinatorSettings, database_url=database, **given)
    broker_settings, store_settings = load(BrokerSettings, broker_url=broker), load(StoreSettings, store_url=store)
    more = load(Limits), load(WorkerSettings), load(KubernetesSettings)
    sys.exit(run_coordinator(settings, broker_settings, store_settings, *more))


@click.command()
@click.option(
    "--steps",
    metavar="NAMES",
    help="Steps to serve, separated by commas; consecutive ones run in one go.  [default: all]",
)
@click.option("--broker", "broker_url", metavar="URL", help="RabbitMQ: amqp://user:password@host:port/vhost.")
@click.option("--store", "store_url", metavar="URL", help="Store, such as s3://bucket or file:///folder.")
@click.option("--concurrency", type=int, help="Worker processes.  [default: 1]")
@click.option("--input-root", type=click.Path(file_okay=False), help="Folder that jobs may read inputs from.")
@click.option("--alive", is_flag=True, help="Only check the worker on this host: exit with 0 if it is healthy, else 1.")
@click.option("--ready", is_flag=True, help="The same, and whether it reaches its broker.")
def worker(broker_url: str | None, store_url: str | None, alive: bool, ready: bool, **given: Any) -> None:
    """Serve steps to a coordinator, over RabbitMQ and a shared store."""
    from penstock.common.settings import (
        BrokerSettings,
        KubernetesSettings,
        Limits,
        StoreSettings,
        WorkerSettings,
        load,
    )
    from penstock.worker.process.main import check_alive, work

    if alive or ready:
        sys.exit(check_alive(load(WorkerSettings, **given), ready=ready))
    broker, store = load(BrokerSettings, broker_url=broker_url), load(StoreSettings, store_url=store_url)
    sys.exit(work(load(WorkerSettings, **given), load(Limits), broker, store, load(KubernetesSettings)))


@click.command()
@click.option("--steps", metavar="NAMES", help="Steps to run, separated by commas.  [default: all]")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="Folder that must contain all files.")
def stdio(steps: str | None, root: Path | None) -> None:
    """Run steps for a program that writes requests to stdin, one JSON object per line."""
    from penstock.common.settings import Limits, WorkerSettings, load
    from penstock.worker.executors.stdio_command import run_stdio

    sys.exit(run_stdio(load(WorkerSettings, steps=steps), load(Limits), root))


@click.command()
@click.argument("name")
@click.option("--weight", type=int, help="Its share of the workers, relative to other keys.  [default: 1]")
@click.option("--max-priority", type=int, help="Highest priority that its jobs may have.  [default: 0]")
@click.option("--max-open-jobs", type=int, help="Limit for its jobs that have not ended.")
@click.option("--max-open-images", type=int, help="Limit for its images that have not ended.")
@click.option("--images-per-day", type=int, help="Limit for the images it submits in a day (UTC).")
@click.option("--max-open-uploads", type=int, help="Limit for its uploads that no job reads.")
@click.option("--max-open-upload-bytes", type=int, help="Limit for the bytes in them.")
@click.option("--max-stored-bytes", type=int, help="Limit for the bytes of its uploads and results.")
@click.option("--expire-after", metavar="TIME", help="Longest time to keep its jobs after their end, such as 30d.")
@click.option("--admin", is_flag=True, help="Allow it to see and change all jobs.")
def key(name: str, **given: Any) -> None:
    """Create an API key, and print it (only this once) with its entry for the server's PENSTOCK_API_KEYS."""
    from penstock.coordinator.auth.keys import make_key

    token, entry = make_key(name, **{field: value for field, value in given.items() if value is not None})
    click.echo(token)
    click.echo(json.dumps(entry.model_dump(exclude_defaults=True)))
