"""What is to be told of jobs' ends: written in the transaction that ends a job, so that no crash comes in between."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, exists, insert, select, update

from penstock.common.model.jobs import ImageState
from penstock.coordinator.database.schema import jobs, notices
from penstock.coordinator.ports.repository import Job
from penstock.coordinator.ports.webhook_events import DeliveryAttempt, WebhookEvent, WebhookEventState

NOTICES_PER_JOB = 100
DELIVERIES_PER_NOTICE = 50

_INSERT = insert(notices)
_PRUNE = delete(notices).where(notices.c.job == bindparam("number"), notices.c.run <= bindparam("last_run"))
_FORGET = delete(notices).where(notices.c.job == bindparam("number"))
_NUMBER = select(jobs.c.number).where(jobs.c.id == bindparam("id")).scalar_subquery()
_THIS = and_(notices.c.job == _NUMBER, notices.c.run == bindparam("which"))
_NOTICES = select(notices, jobs.c.id, jobs.c.webhook_url, jobs.c.webhook_secret).join(
    jobs, jobs.c.number == notices.c.job
)
_IS_DUE = and_(notices.c.state == WebhookEventState.WAITING.value, notices.c.due_at <= bindparam("at"))
_ANY_DUE = select(exists(select(notices.c.job).where(_IS_DUE)))
_DUE = _NOTICES.where(_IS_DUE).order_by(notices.c.due_at, notices.c.job).limit(bindparam("most"))
_TAKE = update(notices).where(_THIS).values(due_at=bindparam("until"))
_OF_JOB = _NOTICES.where(jobs.c.id == bindparam("id")).order_by(notices.c.run.desc())
_FOR_CHANGE = select(notices.c.state, notices.c.deliveries).where(_THIS).with_for_update()
_NOTE = update(notices).where(_THIS)


def add_notice(connection: Connection, job: Job, number: int) -> None:
    """Note that a job which ends in this transaction is to be told of, if anybody wants to know."""
    if job.webhook_url is None:
        return
    counts = {state.value: getattr(job, state.value) for state in ImageState}
    told = {
        "state": job.state.value,
        "name": job.name,
        "labels": job.labels,
        "images": {"total": job.total, **counts},
        "finished_at": job.finished_at,
    }
    row = {
        "told": json.dumps(told),
        "state": WebhookEventState.WAITING.value,
        "due_at": job.finished_at,
        "deliveries": "[]",
    }
    connection.execute(_INSERT, {"job": number, "run": job.run, **row})
    connection.execute(_PRUNE, {"number": number, "last_run": job.run - NOTICES_PER_JOB})


def forget_notices(connection: Connection, number: int) -> None:
    """Remove what was to be told of a job that goes."""
    connection.execute(_FORGET, {"number": number})


def any_due(connection: Connection, at: float) -> bool:
    """Say whether `take_notices` would find something."""
    return bool(connection.execute(_ANY_DUE, {"at": at}).scalar_one())


def take_notices(connection: Connection, at: float, limit: int, until: float) -> list[WebhookEvent]:
    """See Repository.take_notices."""
    found = [_notice(row) for row in connection.execute(_DUE, {"at": at, "most": limit}).mappings()]
    for notice in found:
        connection.execute(_TAKE, {**_which(notice), "until": until})
    return found


def list_notices(connection: Connection, job: str) -> list[WebhookEvent]:
    """See Repository.list_notices."""
    return [_notice(row) for row in connection.execute(_OF_JOB, {"id": job}).mappings()]


def note_delivery(
    connection: Connection, notice: WebhookEvent, delivery: DeliveryAttempt, again_at: float | None
) -> None:
    """See Repository.note_delivery."""
    found = connection.execute(_FOR_CHANGE, _which(notice)).one_or_none()
    if found is None:
        return
    entries = [*json.loads(found.deliveries), asdict(delivery)][-DELIVERIES_PER_NOTICE:]
    state = _state_after(WebhookEventState(found.state), delivery, again_at)
    changed: dict[str, Any] = {"state": state.value, "deliveries": json.dumps(entries)}
    if again_at is not None:
        changed["due_at"] = again_at
    connection.execute(_NOTE.values(changed), _which(notice))


def _state_after(state: WebhookEventState, delivery: DeliveryAttempt, again_at: float | None) -> WebhookEventState:
    """Return what becomes of a notice; one that has arrived stays so, whatever an earlier leader still tried."""
    if delivery.error is None or state is WebhookEventState.DELIVERED:
        return WebhookEventState.DELIVERED
    return WebhookEventState.GIVEN_UP if again_at is None else WebhookEventState.WAITING


def _which(notice: WebhookEvent) -> dict[str, Any]:
    return {"id": notice.job, "which": notice.run}


def _notice(row: RowMapping) -> WebhookEvent:
    return WebhookEvent(
        job=row["id"],
        run=row["run"],
        summary=json.loads(row["told"]),
        url=row["webhook_url"],
        secret=row["webhook_secret"],
        state=WebhookEventState(row["state"]),
        due_at=row["due_at"],
        deliveries=[DeliveryAttempt(**entry) for entry in json.loads(row["deliveries"])],
    )
