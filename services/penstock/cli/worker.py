"""`penstock worker` and `penstock stdio`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


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
def worker(broker_url: str | None, store_url: str | None, alive: bool, **given: Any) -> None:
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

    if alive:
        sys.exit(check_alive(load(WorkerSettings, **given)))
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
