"""The system itself: operations, steps, health and metrics."""

from __future__ import annotations

from inspect import cleandoc
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from penstock import __version__
from penstock.common.model import rest
from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.model.operations import Parameters
from penstock.common.model.plan import read_operation
from penstock.common.registry import operations
from penstock.coordinator.api.monitoring.health import Readiness
from penstock.coordinator.api.monitoring.metrics import Metrics
from penstock.coordinator.api.monitoring.single_flight import SingleFlight
from penstock.coordinator.api.routes.common import ServicesDep, refusals
from penstock.coordinator.api.services import Services
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.scheduler import StepStatus
from penstock.coordinator.scheduling.advice import advise

router = APIRouter(tags=["system"])


@router.get("/v1/operations", summary="List operations")
def list_operations() -> rest.OperationList:
    """Return every operation with its parameters and an example."""
    return rest.OperationList(operations=[_view_operation(name, model) for name, model in operations().items()])


@router.get("/v1/steps", summary="Look at the steps", responses=refusals())
def list_steps(request: Request, services: ServicesDep) -> rest.System:
    """Return every step: what waits, what is worked on, how fast, and which one holds the system back."""
    found = _step_statuses(request, services.check_timeout_secs)
    advice = advise(found, services.find_replicas, services.advice_secs, can_grow=services.can_grow)
    slowest = advice.step if advice else None  # of steps that share workers, the whole work counts
    steps = [_view_step(step, services, is_slowest=step.name == slowest) for step in found]
    return rest.System(steps=steps, bottleneck=slowest, advice=advice)


@router.get("/v1/backlog", summary="Look at what is left for some steps", responses=refusals(404))
def show_backlog(
    services: ServicesDep, steps: Annotated[str, Query(description="Names with commas between", examples=["blur"])]
) -> rest.Backlog:
    """Return what is left over the named steps, always in numbers: for autoscalers, such as KEDA's `metrics-api`.

    `backlog_seconds` is above 0 as long as an image of an open job has yet to pass one of them, and 0 after. An image
    counts with 1 s in a step that has not worked on any yet.
    """
    return rest.Backlog(**vars(services.engine.backlog(_read_steps(steps))))


@router.get("/healthz", summary="Is it alive?")
async def show_health() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "alive", "version": __version__}


@router.get("/readyz", summary="Can it accept jobs?", responses={503: {"description": "Something is away"}})
def show_readiness(request: Request) -> JSONResponse:
    """Try the store, the database and the broker."""
    readiness = request.app.state.readiness
    assert isinstance(readiness, Readiness)
    checks = readiness.check()
    ready = all(state == "ok" for state in checks.values())
    headers = {} if ready else {"Retry-After": "5"}
    return JSONResponse({"ready": ready, "checks": checks}, 200 if ready else 503, headers)


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
def show_metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    metrics = request.app.state.metrics
    assert isinstance(metrics, Metrics)
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _step_statuses(request: Request, timeout_secs: float) -> list[StepStatus]:
    """Return the status of all steps; concurrent requests share one look at the queues.

    Raises:
        UnavailableError: the database or the broker is unreachable, or takes longer than the timeout.
    """
    flight: SingleFlight[list[StepStatus]] = request.app.state.step_statuses
    try:
        return flight.start().result(timeout_secs)
    except TimeoutError as error:
        raise UnavailableError("broker", f"no status of the steps' queues within {timeout_secs:g} s") from error


def _read_steps(text: str) -> list[str]:
    """Return the steps that `blur,encode` names, each once.

    Raises:
        RequestError: 404, there is no such step.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    known = operations()
    for name in names:
        if name not in known:
            raise not_found(f"step {name[:40]!a}; there are {', '.join(known)}")
    return names


def _view_step(step: StepStatus, services: Services, *, is_slowest: bool) -> rest.Step:
    found = services.find_replicas(step.name)
    replicas = (None, step.workers) if found is None else (found.desired, found.ready)
    shown = rest.Replicas(desired=replicas[0], ready=replicas[1])
    return rest.Step(**vars(step), replicas=shown, bottleneck=is_slowest)


def _view_operation(name: str, model: type[Parameters]) -> rest.Operation:
    schema = model.model_json_schema()
    description = cleandoc(model.__doc__ or "")
    schema.pop("description", None)
    return rest.Operation(name=name, description=description, parameters=schema, example=_example(name, model))


def _example(name: str, model: type[Parameters]) -> dict[str, Any] | None:
    try:
        planned = read_operation([name, model.example], "/example")
    except PenstockError:
        return None  # a step of one's own need not bring one
    return {"short": [name, model.example], "long": planned.document()}
