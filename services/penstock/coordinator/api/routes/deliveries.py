"""What has become of telling a job's end: `GET /v1/jobs/{id}/deliveries`."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel

from penstock.common.model.jobs import JobState
from penstock.coordinator.api.routes.common import ServicesDep, find_job, refusals
from penstock.coordinator.webhooks.event import Delivery, Notice, NoticeState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class DeliveryView(BaseModel):
    """One attempt. `status` is that of the receiver's answer; `error` says why it did not count, null if it did."""

    at: datetime
    seconds: float
    status: int | None
    error: str | None


class EventView(BaseModel):
    """One end of the job, and how it was told. `id` is what the receiver knows it by."""

    id: str
    run: int
    job_state: JobState
    state: NoticeState
    next_at: datetime | None
    """When it is tried again, while it is waiting."""
    deliveries: list[DeliveryView]


class EventList(BaseModel):
    """A job's ends, the last one first: a job that is retried ends again."""

    events: list[EventView]


@router.get("/{job}/deliveries", summary="Show a job's webhook deliveries", responses=refusals(404))
def list_deliveries(job: str, services: ServicesDep) -> EventList:
    """Return what was told of the job's end, when, and what was answered; empty where nobody is to be told."""
    find_job(services.repository, job)
    return EventList(events=[_event(notice) for notice in services.repository.list_notices(job)])


def _event(notice: Notice) -> EventView:
    return EventView(
        id=notice.id,
        run=notice.run,
        job_state=JobState(notice.told["state"]),
        state=notice.state,
        next_at=_moment(notice.due_at) if notice.state is NoticeState.WAITING else None,
        deliveries=[_delivery(delivery) for delivery in notice.deliveries],
    )


def _delivery(delivery: Delivery) -> DeliveryView:
    return DeliveryView(at=_moment(delivery.at), seconds=delivery.secs, status=delivery.status, error=delivery.error)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
