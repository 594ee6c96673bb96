"""Locking: reads jobs' rows for a change, and writes them back."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, update

from penstock.coordinator.database.job_counters import JobCounters
from penstock.coordinator.database.outbox import add_webhook_event
from penstock.coordinator.database.rows import job_of
from penstock.coordinator.database.schema import jobs
from penstock.coordinator.ports.repository import Job

# In the order of ids, so that two writers can't deadlock. (SQLite has one writer and ignores FOR UPDATE.)
_LOCK = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True))).order_by(jobs.c.id).with_for_update()
_UPDATE = update(jobs).where(jobs.c.number == bindparam("job_number"))


def lock_job(connection: Connection, job: str) -> JobCounters | None:
    """Lock a job's row until the transaction ends, whatever its state, and return its counters."""
    return lock_jobs(connection, [job]).get(job)


def lock_jobs(connection: Connection, ids: Iterable[str]) -> dict[str, JobCounters]:
    """Lock several jobs' rows; jobs that don't exist are left out."""
    rows = connection.execute(_LOCK, {"ids": list(ids)}).mappings().all()
    return {row["id"]: JobCounters.of(row) for row in rows}


def save(connection: Connection, counters: JobCounters) -> Job:
    """Write a job's counters, and its webhook event if it has ended; return the job as it is now."""
    columns = counters.columns()
    connection.execute(_UPDATE, {"job_number": counters.number, **columns})
    job = job_of({**counters.row, **columns})
    if counters.has_ended:
        add_webhook_event(connection, job, counters.number)
    return job
