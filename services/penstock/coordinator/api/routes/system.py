"""The system: `/v1/operations`, `/v1/steps`, `/v1/backlog`, `/v1/usage`, `/healthz`, `/readyz` and `/metrics`."""

import socket
import time
from inspect import cleandoc
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from penstock import __version__
from penstock.common.headers.file_types import NAMES, OTHER_IMAGES, SIGNATURES, SUFFIXES, TYPES, Signature
from penstock.common.model import rest
from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.model.operations import GATHER, Parameters
from penstock.common.model.plan import read_operation
from penstock.common.registry import all_operations, disabled_steps, group_steps, operations
from penstock.coordinator.api.dependencies import CallerDep, ServicesDep
from penstock.coordinator.api.monitoring.history import StepHistory
from penstock.coordinator.api.monitoring.single_flight import Readiness, SingleFlight
from penstock.coordinator.api.openapi import error_responses
from penstock.coordinator.api.services import Services
from penstock.coordinator.api.views import as_datetime
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import ALL_OWNERS, StoredBytes
from penstock.coordinator.ports.scheduler import StepStatus, WorkerState
from penstock.coordinator.ports.usage import sum_stored
from penstock.coordinator.scheduling.advice import advise
from penstock.coordinator.scheduling.deadlines.policy import SECS_PER_WORKER

router = APIRouter(tags=["system"])


@router.get("/v1/operations", summary="List operations")
def list_operations() -> rest.OperationList:
    """Return every operation that jobs may name, with its parameters and an example."""
    offered = {name: model for name, model in all_operations().items() if name not in disabled_steps()}
    return rest.OperationList(operations=[_view_operation(name, model) for name, model in offered.items()])


@router.get("/v1/formats", summary="List formats")
def list_formats(services: ServicesDep) -> rest.FormatList:
    """Return the types of image files that are read, and by which bytes these and other types are known."""
    return rest.FormatList(
        formats=[
            rest.Format(type=kind, name=NAMES[kind], media_type=f"image/{kind}", suffixes=[*SUFFIXES[kind]])
            for kind in TYPES
            if kind in services.limits.types
        ],
        signatures=[_view_signature(signature) for signature in SIGNATURES],
        max_file_bytes=services.limits.max_file_bytes,
    )


@router.get("/v1/steps", summary="List steps", responses=error_responses())
def list_steps(request: Request, services: ServicesDep) -> rest.System:
    """Return the load of every step, the bottleneck, and advice on how many replicas would help."""
    found = _step_statuses(request, services.check_timeout_secs)
    advice = advise(found, services.find_replicas, services.advice_secs, can_add_workers=services.can_add_workers)
    bottleneck = advice.step if advice else None
    steps = [_view_step(step, services, is_bottleneck=step.name == bottleneck) for step in found]
    return rest.System(steps=steps, bottleneck=bottleneck, advice=advice)


@router.get("/v1/steps/history", summary="Get the history of steps")
async def get_step_history(request: Request) -> rest.StepHistory:
    """Return utilisation, backlog, throughput and replicas of every step over the last hour."""
    history: StepHistory = request.app.state.step_history
    return history.view(time.time())


@router.get("/v1/status", summary="Get the status")
def get_status(request: Request, services: ServicesDep) -> rest.Status:
    """Return the state of store, database and broker, and the workers with what each does."""
    readiness: Readiness = request.app.state.readiness
    states, problems = readiness.check()
    return rest.Status(
        version=__version__,
        dependencies=[
            rest.Dependency(name=name, state=state, problem=problems.pop(name, None)) for name, state in states.items()
        ],
        problems=problems,
        workers=[_view_worker(worker) for worker in services.scheduler.workers()],
    )


@router.get("/v1/backlog", summary="Get the backlog of steps", responses=error_responses(404, 422))
def get_backlog(
    services: ServicesDep,
    steps: Annotated[str, Query(description="Names, separated by commas", examples=["blur"])],
    seconds_per_worker: Annotated[
        float,
        Query(ge=0.001, le=1_000_000, description="Work for which one worker is wanted, if no deadline wants more"),
    ] = SECS_PER_WORKER,
) -> rest.Backlog:
    """Return the work left for some steps as plain numbers, for autoscalers such as KEDA's `metrics-api`.

    `backlog_seconds` is above 0 while any image of an open job has yet to pass one of the steps. An image counts as 1 s
    in a step that has not worked on any yet. `wanted_workers` is the fewest workers that meet every deadline, besides
    those for jobs without one; without deadlines, one for each `seconds_per_worker` of work, and no more than images.
    """
    return rest.Backlog(**vars(services.scheduler.backlog(_read_steps(steps), seconds_per_worker)))


@router.get("/v1/usage", summary="Get the bytes stored", responses=error_responses())
def get_usage(services: ServicesDep, caller: CallerDep) -> rest.Usage:
    """Return how many bytes of uploads and results each owner has, which the caller may see, and what is allowed.

    Uploads that several jobs read count once. Intermediates and thumbnails do not count.
    """
    keys = {key.name: key.max_stored_bytes for key in services.keys.entries} if services.keys else {}
    found = services.repository.stored_bytes(caller.scope)
    owners = [_view_stored(each, keys.get(each.owner)) for each in found]
    if caller.scope != ALL_OWNERS:
        return rest.Usage(owners=owners or [_view_stored(StoredBytes(caller.owner), keys.get(caller.owner))])
    return rest.Usage(owners=owners, total=_view_stored(sum_stored(found), services.limits.max_stored_bytes))


def _view_stored(stored: StoredBytes, most: int | None) -> rest.StoredBytes:
    return rest.StoredBytes(
        owner=stored.owner or None,
        jobs=stored.jobs,
        upload_bytes=stored.upload_bytes,
        result_bytes=stored.result_bytes,
        max_bytes=most,
        next_expires_at=None if stored.next_expires_at is None else as_datetime(stored.next_expires_at),
    )


@router.get("/healthz", summary="Check liveness")
async def get_health() -> dict[str, str]:
    """Answer while the process is alive."""
    return {"status": "alive", "version": __version__}


@router.get("/readyz", summary="Check readiness", responses={503: {"description": "A dependency is unreachable"}})
def get_readiness(request: Request) -> JSONResponse:
    """Check the store, the database and the broker, which are needed to accept jobs.

    Each is `ok`, `nearly full`, `full` or `away`. `problems` says what has to be done about those that will not recover
    by themselves, and about steps that are switched off because they cannot be loaded. A server whose store or database
    is full, or nearly, accepts no jobs, but is ready: jobs can be read, downloaded and deleted.
    """
    readiness: Readiness = request.app.state.readiness
    checks, problems = readiness.check()
    ready = "away" not in checks.values()
    headers = {} if ready else {"Retry-After": "5"}
    document = {"ready": ready, "checks": checks, **({"problems": problems} if problems else {})}
    return JSONResponse(document, 200 if ready else 503, headers)


@router.get("/metrics", summary="Get metrics", response_class=PlainTextResponse)
def get_metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


def _step_statuses(request: Request, timeout_secs: float) -> list[StepStatus]:
    """Return the status of all steps; concurrent requests share one look at the queues."""
    flight: SingleFlight[list[StepStatus]] = request.app.state.step_statuses
    try:
        return flight.start().result(timeout_secs)
    except TimeoutError as error:
        raise UnavailableError("broker", f"no status of the steps' queues within {timeout_secs:g} s") from error


def _read_steps(text: str) -> list[str]:
    """Return the steps of a list such as `blur,encode`, each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    known = operations()
    for name in names:
        if name not in known:
            raise not_found(f"step {name[:40]!a}; there are {', '.join(known)}")
    return names


def count_replicas(step: StepStatus, services: Services) -> int:
    """Return a step's ready replicas; its workers where there are no Deployments."""
    found = services.find_replicas(step.name)
    return step.workers if found is None else found.ready


def _view_step(step: StepStatus, services: Services, *, is_bottleneck: bool) -> rest.Step:
    found = services.find_replicas(step.name)
    replicas = (
        rest.Replicas(ready=step.workers) if found is None else rest.Replicas(desired=found.desired, ready=found.ready)
    )
    return rest.Step(**vars(step), replicas=replicas, bottleneck=is_bottleneck)


def _view_worker(worker: WorkerState) -> rest.Worker:
    host, _, process = worker.name.rpartition(":")
    return rest.Worker(
        host=host or socket.gethostname(),  # without its host, it belongs to this process
        process=process,
        version=worker.version or None,
        steps=list(worker.steps),
        step=worker.step,
        seconds=worker.since if worker.step else None,
        waiting_for=worker.waiting_for,
    )


def _view_signature(signature: Signature) -> rest.Signature:
    parts = [rest.SignaturePart(offset=offset, bytes=part.hex()) for offset, part in signature.parts]
    is_image = signature.name in OTHER_IMAGES or signature.name in NAMES.values()
    return rest.Signature(name=signature.name, parts=parts, image=is_image)


def _view_operation(name: str, model: type[Parameters]) -> rest.Operation:
    schema = model.model_json_schema()
    description = cleandoc(model.__doc__ or "")
    schema.pop("description", None)
    if name == GATHER:
        schema["properties"]["step"]["enum"] = sorted(group_steps() - disabled_steps())
    return rest.Operation(
        name=name,
        title=model.shown_title(name),
        description=description,
        parameters=schema,
        group=name in group_steps(),
        example=_example(name, model),
    )


def _example(name: str, model: type[Parameters]) -> dict[str, Any] | None:
    try:
        planned = read_operation([name, model.example], "/example")
    except PenstockError:
        return None  # custom steps may lack an example
    return {"short": [name, model.example], "long": planned.document()}
