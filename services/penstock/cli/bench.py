"""`penstock bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--images", type=click.IntRange(min=1), help="Images per workload.  [default: the workload's own number]")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds for each contestant.")
@click.option("--photos", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder of photographs.")
@click.option("--workload", "workloads", multiple=True, metavar="NAME", help="Only this workload; repeat for more.")
@click.option("--contestant", "contestants", multiple=True, metavar="NAME", help="Only this one; repeat for more.")
@click.option("--latency/--no-latency", default=True, show_default=True, help="Also time single images.")
@click.option("--broker", metavar="URL", help="Also measure over this RabbitMQ, which nothing else may use.")
@click.option("--server", metavar="URL", help="Measure this running installation instead, through its REST API.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of tables.")
def bench(server: str | None, **options: Any) -> None:
    """Measure Penstock against a plain OpenCV pool on the same cores, or measure a running installation."""
    if server is None:
        from penstock.benchmark.bench.runner import run_bench

        sys.exit(run_bench(**options))
    from penstock.benchmark.bench.remote import read_server, run_server_bench

    if any([options.pop("broker"), options.pop("contestants")]):
        raise click.UsageError(
            "--server measures an installation; --broker and --contestant cannot be combined with it"
        )
    sys.exit(run_server_bench(read_server(server), **options))
