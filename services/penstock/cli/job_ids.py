"""Job ids on the command line: whole, by their first characters, or `@last`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from penstock.client.errors import RefusedError

if TYPE_CHECKING:
    from penstock.client.sync_client import Client

LAST = "@last"
ID_HELP = "ID is a job's id, its first characters, or @last for the newest job."
_ID_LETTERS = 26
_SEARCHED = 1_000
"""Newest jobs that are searched for the beginning of an id."""


def find_job(client: Client, given: str) -> str:
    """Return the whole id of a job.

    Raises:
        RefusedError: no job's id begins so, or several do.
    """
    if len(given) >= _ID_LETTERS:
        return given
    if given == LAST:
        found = [job.id for job in client.jobs(limit=1)]
        if not found:
            raise _unknown(f"there are no jobs on {client.server}")
        return found[0]
    matches = [job.id for job in client.jobs(limit=_SEARCHED) if given and job.id.startswith(given)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(matches[:3]) + (", …" if len(matches) > 3 else "")
        raise _unknown(f"{len(matches)} jobs begin with {given!r}; accepted is one: {shown}")
    raise _unknown(f"no job begins with {given!r}; `penstock jobs` lists them, and {LAST} is the newest")


def _unknown(message: str) -> RefusedError:
    return RefusedError(404, "job_not_found", message)


def complete_job(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
    """Return the newest jobs whose ids begin so, for the shell; none if the server cannot be reached at once."""
    return _quietly(lambda: _complete(ctx.params.get("server"), incomplete))


def _complete(server: str | None, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from penstock.client.sync_client import Client

    with Client(server, timeout_secs=2, patience_secs=0) as client:
        found = [job for job in client.jobs(limit=_SEARCHED) if job.id.startswith(incomplete)]
    return [CompletionItem(job.id, help=" ".join([job.state, job.name])) for job in found]


def _quietly(complete: Callable[[], list[Any]]) -> list[Any]:
    try:
        return complete()
    except Exception:  # a message would stand in the middle of the line that the user is typing
        return []
