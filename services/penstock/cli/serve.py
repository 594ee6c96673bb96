"""`penstock serve`."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.  [default: 8080]")
@click.option("--data", type=click.Path(file_okay=False), help="Folder for the state.  [default: penstock-data]")
@click.option("--workers", type=int, help="Worker processes.  [default: one per core]")
@click.option(
    "--placement", type=click.Choice(["fused", "per_step"]), help="All steps in each worker, or one step per worker."
)
@click.option(
    "--input-root", type=click.Path(file_okay=False, exists=True), help="Folder that jobs may read inputs from."
)
@click.option("--broker", metavar="URL", help="RabbitMQ instead of queues in memory: amqp://user:password@host.")
def serve(broker: str | None, **given: Any) -> None:
    """Serve the REST API with workers on this host."""
    from penstock.common.settings import BrokerSettings, Limits, ServeSettings, StoreSettings, WorkerSettings, load
    from penstock.local.serve import serve as serve_here

    settings, broker_settings = load(ServeSettings, **given), load(BrokerSettings, broker_url=broker)
    sys.exit(serve_here(settings, load(Limits), load(WorkerSettings), broker_settings, load(StoreSettings)))
