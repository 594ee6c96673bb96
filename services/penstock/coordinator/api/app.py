"""Application: the routes, middleware and error handlers of the coordinator's REST API."""

import logging

from fastapi import Depends, FastAPI

from penstock import __version__
from penstock.coordinator.api.dependencies import authenticate
from penstock.coordinator.api.middleware import LingeringClose, LoopbackHost, SameOrigin, SecurityHeaders
from penstock.coordinator.api.monitoring.metrics import RequestMetrics, create_registry
from penstock.coordinator.api.monitoring.single_flight import Readiness, SingleFlight
from penstock.coordinator.api.openapi import TAGS, complete_openapi, operation_id
from penstock.coordinator.api.problems import add_handlers
from penstock.coordinator.api.routes import (
    events,
    jobs,
    page,
    process,
    results,
    session,
    static,
    synchronous,
    system,
    thumbnails,
    uploads,
)
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.thumbnails import Thumbnails
from penstock.coordinator.api.transient_jobs import TransientJobs
from penstock.coordinator.auth.quotas import LongRequests
from penstock.coordinator.auth.refused_keys import RefusedKeys
from penstock.coordinator.auth.upload_quota import UploadQuota
from penstock.coordinator.intake.job_service import JobService

_DESCRIPTION = """Ordered image operations over batches of images.

A job is a list of operations and images. The images are sent with the job, uploaded before it, or named by reference.
`/v1/operations` lists the operations with an example of each. Errors are `application/problem+json` with a stable
`code`."""


def create_app(services: Services) -> FastAPI:
    """Return the REST API on top of its services."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of malformed forms, which get an answer
    app = FastAPI(
        dependencies=[Depends(authenticate)],
        title="Penstock",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        servers=[{"url": "/", "description": "This server"}],
        generate_unique_id_function=operation_id,
        docs_url=None,  # routes/page.py has a page that loads nothing from other sites
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.job_service = JobService(
        services.repository,
        services.scheduler,
        services.limits,
        input_root=services.input_root,
        buckets=services.buckets,
        webhooks=services.webhooks,
        replay_secs=services.replay_secs,
    )
    limits = services.limits
    app.state.streams = LongRequests(limits.max_event_streams, "event streams", "too_many_streams")
    app.state.refused_keys = RefusedKeys()
    app.state.upload_quota = UploadQuota(services.repository, limits)
    app.state.waiting = LongRequests(limits.max_waiting, "requests that wait for jobs", "too_many_waiting")
    app.state.transient_jobs = TransientJobs(services.scheduler)
    app.state.thumbnails = Thumbnails(services, app.state.transient_jobs)
    app.state.metrics = create_registry(services)
    app.state.readiness = Readiness(services)
    app.state.step_statuses = SingleFlight(services.scheduler.steps)
    for routes in (process, synchronous, jobs, uploads, events, results, thumbnails, static, system, session, page):
        app.include_router(routes.router)
    add_handlers(app)
    app.add_middleware(SameOrigin)
    if services.loopback_only:
        app.add_middleware(LoopbackHost)
    app.add_middleware(LingeringClose, max_bytes=services.discard_bytes)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestMetrics, registry=app.state.metrics)
    complete_openapi(app)
    return app
