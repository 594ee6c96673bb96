"""Outbox: webhook events, written in the transaction that ends their job, so that a crash can't lose one.

The table is called `notices`.
"""

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, exists, insert, select, update

from penstock.common.model.jobs import ImageState
from penstock.coordinator.database.schema import jobs, notices
from penstock.coordinator.ports.repository import DeliveryAttempt, Job, WebhookEvent, WebhookEventState

EVENTS_PER_JOB = 100
ATTEMPTS_PER_EVENT = 50

_INSERT = insert(notices)
_PRUNE = delete(notices).where(notices.c.job == bindparam("number"), notices.c.run <= bindparam("last_run"))
_DELETE_OF_JOB = delete(notices).where(notices.c.job == bindparam("number"))
_JOB_NUMBER = select(jobs.c.number).where(jobs.c.id == bindparam("id")).scalar_subquery()
_IS_EVENT = and_(notices.c.job == _JOB_NUMBER, notices.c.run == bindparam("which"))
_EVENTS = select(notices, jobs.c.id, jobs.c.webhook_url, jobs.c.webhook_secret).join(
    jobs, jobs.c.number == notices.c.job
)
_IS_DUE = and_(notices.c.state == WebhookEventState.WAITING.value, notices.c.due_at <= bindparam("at"))
_IS_ANY_DUE = select(exists(select(notices.c.job).where(_IS_DUE)))
_DUE = _EVENTS.where(_IS_DUE).order_by(notices.c.due_at, notices.c.job).limit(bindparam("most"))
_POSTPONE = update(notices).where(_IS_EVENT).values(due_at=bindparam("until"))
_OF_JOB = _EVENTS.where(jobs.c.id == bindparam("id")).order_by(notices.c.run.desc())
_LOCK = select(notices.c.state, notices.c.deliveries).where(_IS_EVENT).with_for_update()
_UPDATE = update(notices).where(_IS_EVENT)


def add_webhook_event(connection: Connection, job: Job, number: int) -> None:
    """Add the event of a job that ends in this transaction, if it has a webhook."""
    if job.webhook_url is None:
        return
    counts = {state.value: getattr(job, state.value) for state in ImageState}
    summary = {
        "state": job.state.value,
        "name": job.name,
        "labels": job.labels,
        "images": {"total": job.total, **counts},
        "finished_at": job.finished_at,
    }
    row = {
        "told": json.dumps(summary),
        "state": WebhookEventState.WAITING.value,
        "due_at": job.finished_at,
        "deliveries": "[]",
    }
    connection.execute(_INSERT, {"job": number, "run": job.run, **row})
    connection.execute(_PRUNE, {"number": number, "last_run": job.run - EVENTS_PER_JOB})


def delete_webhook_events(connection: Connection, number: int) -> None:
    """Delete the events of a job that is deleted."""
    connection.execute(_DELETE_OF_JOB, {"number": number})


def is_any_due(connection: Connection, at: float) -> bool:
    """Return whether `take_webhook_events` would find something."""
    return bool(connection.execute(_IS_ANY_DUE, {"at": at}).scalar_one())


def take_webhook_events(connection: Connection, at: float, limit: int, until: float) -> list[WebhookEvent]:
    events = [_event_of(row) for row in connection.execute(_DUE, {"at": at, "most": limit}).mappings()]
    for event in events:
        connection.execute(_POSTPONE, {**_key_of(event), "until": until})
    return events


def list_webhook_events(connection: Connection, job: str) -> list[WebhookEvent]:
    return [_event_of(row) for row in connection.execute(_OF_JOB, {"id": job}).mappings()]


def record_delivery(
    connection: Connection, event: WebhookEvent, attempt: DeliveryAttempt, retry_at: float | None
) -> None:
    row = connection.execute(_LOCK, _key_of(event)).one_or_none()
    if row is None:
        return
    attempts = [*json.loads(row.deliveries), asdict(attempt)][-ATTEMPTS_PER_EVENT:]
    state = _state_after(WebhookEventState(row.state), attempt, retry_at)
    changes: dict[str, Any] = {"state": state.value, "deliveries": json.dumps(attempts)}
    if retry_at is not None:
        changes["due_at"] = retry_at
    connection.execute(_UPDATE.values(changes), _key_of(event))


def _state_after(state: WebhookEventState, attempt: DeliveryAttempt, retry_at: float | None) -> WebhookEventState:
    """Return an event's new state. A delivered one stays delivered, whatever an earlier leader still tries."""
    if attempt.error is None or state is WebhookEventState.DELIVERED:
        return WebhookEventState.DELIVERED
    return WebhookEventState.GIVEN_UP if retry_at is None else WebhookEventState.WAITING


def _key_of(event: WebhookEvent) -> dict[str, Any]:
    return {"id": event.job, "which": event.run}


def _event_of(row: RowMapping) -> WebhookEvent:
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
