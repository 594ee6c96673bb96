"""Taking jobs' rows for a change, and putting them back."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, update

from penstock.coordinator.database.job_counters import JobCounters
from penstock.coordinator.database.outbox import add_notice
from penstock.coordinator.database.rows import job_of
from penstock.coordinator.database.schema import jobs
from penstock.coordinator.ports.repository import Job

# In the order of ids, so that two writers never wait for each other. (SQLite has one writer and ignores FOR UPDATE.)
_LOCK = select(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True))).order_by(jobs.c.id).with_for_update()
_UPDATE = update(jobs).where(jobs.c.number == bindparam("job_number"))


def open_ledger(connection: Connection, job: str) -> JobCounters | None:
    """Lock a job's row until the transaction ends and open its books, whatever its state."""
    return open_ledgers(connection, [job]).get(job)


def open_ledgers(connection: Connection, ids: Iterable[str]) -> dict[str, JobCounters]:
    """Lock several jobs; those that don't exist are left out."""
    rows = connection.execute(_LOCK, {"ids": list(ids)}).mappings().all()
    return {row["id"]: JobCounters.of(row) for row in rows}


def save(connection: Connection, ledger: JobCounters) -> Job:
    """Write a job's books back, and where it has ended, that this is to be told; return the job as it is now."""
    columns = ledger.columns()
    connection.execute(_UPDATE, {"job_number": ledger.number, **columns})
    job = job_of({**ledger.row, **columns})
    if ledger.has_ended:
        add_notice(connection, job, ledger.number)
    return job
