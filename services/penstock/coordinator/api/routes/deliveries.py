"""What has become of telling a job's end: `GET /v1/jobs/{id}/deliveries`."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from penstock.common.model import rest
from penstock.coordinator.api.routes.common import ServicesDep, find_job, refusals
from penstock.coordinator.auth.access import CallerDep
from penstock.coordinator.ports.webhook_events import DeliveryAttempt, WebhookEvent, WebhookEventState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job}/deliveries", summary="Show a job's webhook deliveries", responses=refusals(404))
def list_deliveries(job: str, services: ServicesDep, caller: CallerDep) -> rest.NoticeList:
    """Return what was told of the job's end, when, and what was answered; empty where nobody is to be told."""
    find_job(services.repository, job, caller)
    return rest.NoticeList(events=[_event(notice) for notice in services.repository.list_notices(job)])


def _event(notice: WebhookEvent) -> rest.Notice:
    return rest.Notice(
        id=notice.id,
        run=notice.run,
        job_state=notice.summary["state"],
        state=notice.state,
        next_at=_moment(notice.due_at) if notice.state is WebhookEventState.WAITING else None,
        deliveries=[_delivery(delivery) for delivery in notice.deliveries],
    )


def _delivery(delivery: DeliveryAttempt) -> rest.Delivery:
    return rest.Delivery(at=_moment(delivery.at), seconds=delivery.secs, status=delivery.status, error=delivery.error)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
