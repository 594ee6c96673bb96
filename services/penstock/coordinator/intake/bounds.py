"""Bounds: refuses jobs whose deadline or highest price cannot be kept, and says what is possible."""

import time
from datetime import UTC, datetime

from penstock.common.model.errors import RequestError
from penstock.common.model.rest import JobForecast
from penstock.common.wording.durations import format_secs
from penstock.coordinator.ports.repository import Job
from penstock.coordinator.ports.scheduler import Outlook, Scheduler


def check_bounds(job: Job, scheduler: Scheduler) -> None:
    """Check a job's deadline and highest price before it is accepted. What cannot be predicted yet passes.

    Raises:
        RequestError: 422 if the deadline has passed; if it is strict, or comes with a highest price, and cannot be met;
            or if the price cannot be kept, or the server has no prices.
    """
    if job.max_price is not None and not scheduler.has_prices:
        message = "this server has no prices; its operator sets them (PENSTOCK_WORKER_PRICES)"
        raise RequestError(422, "no_prices", f"cost: {message}", "/cost")
    now = time.time()
    if job.deadline is not None and job.deadline <= now:
        message = f"deadline: {_show_time(job.deadline)} has passed; accepted is a later time"
        raise RequestError(422, "impossible_deadline", message, "/deadline")
    if job.max_price is None and not job.document.get("deadline_strict"):
        return
    outlook = scheduler.forecast(job).outlook
    if outlook is not None and outlook.is_feasible is False:
        _check_deadline(job, outlook, now)
        _check_price(job, outlook, now)


def view_outlook(outlook: Outlook | None) -> JobForecast | None:
    """Return when a job will end as the REST API shows it."""
    if outlook is None:
        return None
    at = None if outlook.secs is None else datetime.fromtimestamp(round(time.time() + outlook.secs), UTC)
    return JobForecast(finishes_at=at, feasible=outlook.is_feasible, replicas=outlook.replicas, price=outlook.price)


def _check_deadline(job: Job, outlook: Outlook, now: float) -> None:
    if job.deadline is None or (outlook.least_secs is not None and now + outlook.least_secs <= job.deadline):
        return
    possible = (
        "a step has no workers" if outlook.least_secs is None else f"possible is {_show(outlook.least_secs, now)}"
    )
    message = f"deadline: {_show_time(job.deadline)} cannot be met; {possible}"
    raise RequestError(422, "impossible_deadline", message, "/deadline")


def _check_price(job: Job, outlook: Outlook, now: float) -> None:
    if job.max_price is None or outlook.least_price is None or outlook.least_price <= job.max_price:
        return
    message = f"cost: the job takes at least {outlook.least_price:.2g}"
    if job.deadline is not None:
        message += f" to meet its deadline, {_show_time(job.deadline)}"
    message += f"; {job.max_price:g} is less"
    if outlook.affordable_secs is not None:
        message += f", and possible for {_show(outlook.affordable_secs, now)}"
    raise RequestError(422, "impossible_price", message, "/cost/max_price")


def _show(secs: float, now: float) -> str:
    return f"{_show_time(now + secs)}, in {format_secs(secs)}"


def _show_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
