"""`penstock key`."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.argument("name")
@click.option("--weight", type=int, help="Its share of the workers, relative to other keys.  [default: 1]")
@click.option("--max-priority", type=int, help="Highest priority that its jobs may have.  [default: 0]")
@click.option("--max-open-jobs", type=int, help="Limit for its jobs that have not ended.")
@click.option("--max-open-images", type=int, help="Limit for its images that have not ended.")
@click.option("--images-per-day", type=int, help="Limit for the images it submits in a day (UTC).")
@click.option("--admin", is_flag=True, help="Allow it to see and change all jobs.")
def key(name: str, **given: Any) -> None:
    """Create an API key, and print it (only this once) with its entry for the server's PENSTOCK_API_KEYS."""
    from penstock.coordinator.auth.keys import make_key

    token, entry = make_key(name, **{field: value for field, value in given.items() if value is not None})
    click.echo(token)
    click.echo(json.dumps(entry.model_dump(exclude_defaults=True)))
