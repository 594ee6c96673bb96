"""Application: the routes, middleware and error handlers of the coordinator's REST API."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from penstock import __version__
from penstock.coordinator.api.dependencies import authenticate
from penstock.coordinator.api.http_rules import AnswerHead, DecodeBody, WellFormed
from penstock.coordinator.api.middleware import LingeringClose, LoopbackHost, SameOrigin, SecurityHeaders
from penstock.coordinator.api.monitoring.history import StepHistory
from penstock.coordinator.api.monitoring.metrics import RequestMetrics, create_registry
from penstock.coordinator.api.monitoring.single_flight import Readiness, SingleFlight
from penstock.coordinator.api.openapi import TAGS, complete_openapi, operation_id
from penstock.coordinator.api.prefix import Prefix
from penstock.coordinator.api.problems import add_handlers
from penstock.coordinator.api.routes import (
    events,
    inputs,
    jobs,
    page,
    presets,
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
from penstock.coordinator.intake.query_options import QueryReader

_DESCRIPTION = """Ordered image operations over batches of images.

A job is a list of operations and images. The images are sent with the job, uploaded before it, or named by reference.
`/v1/operations` lists the operations with an example of each. Errors are `application/problem+json` with a stable
`code`."""


class _Application(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """Put the security headers around everything, so that the answer to an unexpected error has them, too."""
        services: Services = self.state.services
        prefixed = Prefix(super().build_middleware_stack(), services.prefix, services.trusted_proxies)
        return SecurityHeaders(prefixed)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Record the load of the steps while the application runs."""
    history: StepHistory = app.state.step_history
    recording = asyncio.create_task(history.run())
    yield
    recording.cancel()


def create_app(services: Services) -> FastAPI:
    """Return the REST API on top of its services."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of malformed forms, which get an answer
    app = _Application(
        dependencies=[Depends(authenticate)],
        title="Penstock",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        servers=[{"url": ".", "description": "This server"}],
        generate_unique_id_function=operation_id,
        docs_url=None,  # routes/page.py has a page that loads nothing from other sites
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
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
        check_room=services.reserve.check,
    )
    limits = services.limits
    app.state.streams = LongRequests(limits.max_event_streams, "event streams", "too_many_streams")
    app.state.downloads = LongRequests(limits.max_downloads, "downloads", "too_many_downloads")
    app.state.refused_keys = RefusedKeys()
    app.state.upload_quota = UploadQuota(services.repository, limits)
    app.state.waiting = LongRequests(limits.max_waiting, "requests that wait for jobs", "too_many_waiting")
    app.state.query_reader = QueryReader(limits)
    app.state.transient_jobs = TransientJobs(services.scheduler)
    app.state.thumbnails = Thumbnails(services, app.state.transient_jobs)
    app.state.metrics = create_registry(services)
    app.state.readiness = Readiness(services)
    app.state.step_statuses = SingleFlight(services.scheduler.steps)
    app.state.step_history = StepHistory(
        app.state.step_statuses, lambda step: system.count_replicas(step, services), services.check_timeout_secs
    )
    found: list[BaseRoute] = [*app.routes]
    for routes in (
        process, synchronous, jobs, uploads, presets, inputs, events, results, thumbnails, static, system, session,
        page,
    ):  # fmt: skip
        app.include_router(routes.router)
        found += routes.router.routes
    app.state.methods = [(route.path_regex, route.methods or set()) for route in found if isinstance(route, Route)]
    add_handlers(app)
    app.add_middleware(SameOrigin)
    if services.loopback_only:
        app.add_middleware(LoopbackHost)
    app.add_middleware(DecodeBody)
    app.add_middleware(LingeringClose, max_bytes=services.discard_bytes)
    app.add_middleware(WellFormed)
    app.add_middleware(RequestMetrics, registry=app.state.metrics)
    app.add_middleware(AnswerHead)
    complete_openapi(app)
    return app
