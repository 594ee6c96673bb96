"""Failures by code, those that a retry may help apart; working time and throughput of jobs; places of images."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")

_ROWS_AT_ONCE = 5_000
_JOBS = sa.table(
    "jobs",
    *map(sa.column, ("number", "failed", "started_at", "finished_at", "run_started_at", "worked_secs")),
    *map(sa.column, ("failures", "steps_of_failed", "steps_of_final")),
)
_IMAGES = sa.table(
    "images", *map(sa.column, ("job", "id", "state", "error", "timings", "resume_step", "error_code", "error_retry"))
)


def upgrade() -> None:
    """Add the columns, and fill them for jobs and failed images of earlier versions."""
    op.add_column("images", sa.Column("error_code", KEY))
    op.add_column("images", sa.Column("error_retry", sa.Boolean))
    op.create_index(
        "images_by_error",
        "images",
        ["job", "error_code", "id"],
        sqlite_where=sa.text("error_code IS NOT NULL"),
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.add_column("images", sa.Column("longitude", sa.Double))
    op.add_column("images", sa.Column("latitude", sa.Double))
    op.create_index(
        "images_by_place",
        "images",
        ["job", "id"],
        sqlite_where=sa.text("longitude IS NOT NULL"),
        postgresql_where=sa.text("longitude IS NOT NULL"),
    )
    op.add_column("jobs", sa.Column("steps_of_final", sa.Text, nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("retry_final", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("failures", sa.Text, nullable=False, server_default="{}"))
    op.add_column("jobs", sa.Column("run_started_at", sa.Double))
    op.add_column("jobs", sa.Column("worked_secs", sa.Double, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("throughput", sa.Text, nullable=False, server_default=sa.text("''")))
    connection = op.get_bind()
    # Pauses between runs are unknown, so they count for jobs that were retried before.
    has_ended = _JOBS.c.finished_at.is_not(None)
    connection.execute(sa.update(_JOBS).where(~has_ended).values(run_started_at=_JOBS.c.started_at))
    connection.execute(
        sa.update(_JOBS)
        .where(has_ended, _JOBS.c.started_at.is_not(None))
        .values(worked_secs=_JOBS.c.finished_at - _JOBS.c.started_at)
    )
    for job in connection.execute(sa.select(_JOBS.c.number, _JOBS.c.failed, _JOBS.c.steps_of_failed)).all():
        failed_steps = json.loads(job.steps_of_failed)
        final_steps: list[list[float]] = [[0, 0, 0.0, 0.0] for _ in failed_steps]
        failures: dict[str, list[int]] = {}
        if job.failed:
            _split_failures(connection, job.number, failed_steps, final_steps, failures)
        values = {"steps_of_failed": failed_steps, "steps_of_final": final_steps, "failures": failures}
        texts = {name: json.dumps(value) for name, value in values.items()}
        connection.execute(sa.update(_JOBS).where(_JOBS.c.number == job.number).values(texts))


def _split_failures(
    connection: sa.Connection, number: int, failed_steps: Any, final_steps: Any, failures: dict[str, list[int]]
) -> None:
    """Count a job's failures by code, and move those that no retry helps from the one totals to the other."""
    after = -1
    of_job = (_IMAGES.c.job == number, _IMAGES.c.state == "failed")
    query = sa.select(_IMAGES).where(*of_job, _IMAGES.c.id > sa.bindparam("after")).order_by(_IMAGES.c.id)
    change = (
        sa.update(_IMAGES)
        .where(_IMAGES.c.job == number, _IMAGES.c.id == sa.bindparam("image"))
        .values(error_code=sa.bindparam("code"), error_retry=sa.bindparam("retry", type_=sa.Boolean))
    )
    while page := connection.execute(query.limit(_ROWS_AT_ONCE), {"after": after}).all():
        changes = []
        for image in page:
            error = json.loads(image.error or "{}")
            code, retry = str(error.get("code", "internal"))[:60].replace("\0", "\ufffd"), bool(error.get("retry"))
            counts = failures.setdefault(code, [0, 0])
            counts[0] += 1
            counts[1] += retry
            changes.append({"image": image.id, "code": code, "retry": retry})
            if not retry:
                _count(failed_steps, image, -1)
                _count(final_steps, image, 1)
        connection.execute(change, changes)
        after = page[-1].id


def _count(steps: Any, image: Any, sign: int) -> None:
    if not steps:
        return
    passed = min(image.resume_step, len(steps) - 1)
    for step in steps[:passed]:
        step[0] += sign
    steps[passed][1] += sign
    for timing in json.loads(image.timings or "[]"):
        if timing["step"] < len(steps):
            steps[timing["step"]][2] += sign * timing["wait"]
            steps[timing["step"]][3] += sign * timing["work"]
