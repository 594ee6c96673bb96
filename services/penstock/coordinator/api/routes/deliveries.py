"""`/v1/jobs/{job}/deliveries`: deliveries of a job's webhook events."""

from __future__ import annotations

from fastapi import APIRouter

from penstock.common.model import rest
from penstock.coordinator.api.dependencies import JobDep, ServicesDep
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.views import as_datetime
from penstock.coordinator.ports.webhook_events import WebhookEvent, WebhookEventState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job}/deliveries", summary="List webhook deliveries", responses=error_responses(404))
def list_deliveries(job: JobDep, services: ServicesDep) -> rest.NoticeList:
    """Return each end of the job with the attempts to deliver it to the webhook; empty without a webhook."""
    return rest.NoticeList(events=[_view_event(event) for event in services.repository.list_webhook_events(job.id)])


def _view_event(event: WebhookEvent) -> rest.Notice:
    return rest.Notice(
        id=event.id,
        run=event.run,
        job_state=event.summary["state"],
        state=event.state,
        next_at=as_datetime(event.due_at) if event.state is WebhookEventState.WAITING else None,
        deliveries=[
            rest.Delivery(at=as_datetime(attempt.at), seconds=attempt.secs, status=attempt.status, error=attempt.error)
            for attempt in event.deliveries
        ],
    )
