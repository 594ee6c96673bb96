"""`penstock coordinator`."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.  [default: 8080]")
@click.option("--broker", metavar="URL", help="RabbitMQ: amqp://user:password@host.")
@click.option("--store", metavar="URL", help="Store, such as s3://bucket.  [default: a folder in --data]")
@click.option("--database", metavar="URL", help="postgresql://user:password@host/name.  [default: SQLite in --data]")
@click.option("--data", type=click.Path(file_okay=False), help="Folder for the state.  [default: penstock-data]")
@click.option(
    "--input-root", type=click.Path(file_okay=False, exists=True), help="Folder that jobs may read inputs from."
)
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
