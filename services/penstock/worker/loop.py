"""The worker: takes chunks from the queues of the steps it serves, one at a time, and decides how each one ends."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence

from penstock.common.broker.port import Consumer, Delivery
from penstock.common.errors import ImageCode, PlanError, UnavailableError
from penstock.common.messages import (
    EVENTS_QUEUE,
    Chunk,
    Event,
    Failure,
    ImageRef,
    MessageError,
    Outcome,
    read_chunk,
    step_queue,
)
from penstock.common.plan import Plan, plan_of
from penstock.common.settings import WorkerSettings
from penstock.common.store.keys import tombstone_key
from penstock.common.store.port import ObjectNotFoundError
from penstock.worker.attempts import Starts, read_starts
from penstock.worker.watchdog import Watchdog
from penstock.worker.work import Bench, BlobLostError, Work, singles

log = logging.getLogger(__name__)

EXIT_TIMED_OUT = 75
"""Exit status of a worker that ended itself because a step took too long."""

_PREFETCH = 2
_IDLE_SECS = 5.0
_PAUSE_SECS = (0.5, 2.0)


class Worker:
    """Runs until `stop` is called, then finishes the image at hand and gives back the rest."""

    def __init__(self, bench: Bench, settings: WorkerSettings) -> None:
        self._bench = bench
        self._settings = settings
        self._stopping = threading.Event()
        self._watchdog = Watchdog(settings.step_timeout_secs, self._time_out)
        self._cancelled = Tombstones(self._is_cancelled, settings.cancel_lookup_secs)
        self._consumer: Consumer | None = None
        self._current: tuple[Work, Delivery] | None = None

    def run(self) -> None:
        """Take chunks until told to stop."""
        queues = [step_queue(step) for step in sorted(self._bench.served)]
        self._declare([*queues, EVENTS_QUEUE])
        consumer = self._consumer = self._bench.broker.consume(queues, _PREFETCH)
        while not self._stopping.is_set():
            delivery = consumer.get(_IDLE_SECS)
            if delivery is not None:
                self._handle(consumer, delivery)
        consumer.close()
        self._watchdog.close()

    def _declare(self, queues: Sequence[str]) -> None:
        """Make sure that the queues are there, as soon as there is a broker."""
        while not self._stopping.is_set():
            try:
                self._bench.broker.declare(queues)
                return
            except UnavailableError as error:
                log.warning("%s; waiting for it", error.message)
                self._pause()

    @property
    def consumes(self) -> bool:
        """Whether it has begun to take chunks."""
        return self._consumer is not None

    def stop(self) -> None:
        """Ask the worker to leave; returns at once."""
        self._stopping.set()
        if self._consumer is not None:
            self._consumer.wake()

    def _handle(self, consumer: Consumer, delivery: Delivery) -> None:
        """Bring a delivery to its end; where that cannot be told, the broker delivers it again."""
        try:
            self._bring_to_end(consumer, delivery)
        except UnavailableError as error:
            log.warning("a chunk from %s is given back: %s", delivery.queue, error.message)
            self._pause()
            consumer.nack(delivery)

    def _pause(self) -> None:
        """Wait a little, each worker another while, so that what comes back is not met by all at once."""
        self._stopping.wait(random.uniform(*_PAUSE_SECS))  # noqa: S311 (spreads workers, guards nothing)

    def _bring_to_end(self, consumer: Consumer, delivery: Delivery) -> None:
        try:
            chunk = read_chunk(delivery.body)
            plan = self._plan(chunk)
            if not 0 <= chunk.step < len(plan.steps) or not chunk.images:
                raise MessageError("unreadable_message", f"step {chunk.step} of {len(plan.steps)}")
        except MessageError as error:
            log.warning("unreadable message from %s: %s", delivery.queue, error.message)
            consumer.reject(delivery, error.message)
            return
        except PlanError as error:
            self._fail_all(chunk, chunk.images, ImageCode.INTERNAL, error.message, "plan")
        except UnavailableError as error:
            self._try_later(delivery, chunk, chunk.images, error)
        else:
            self._work(delivery, chunk, plan)
        consumer.ack(delivery)

    def _work(self, delivery: Delivery, chunk: Chunk, plan: Plan) -> None:
        """Bring a chunk to an end after which its delivery can be acknowledged."""
        work = Work(self._bench, chunk, plan)
        try:
            if self._cancelled.has(chunk.job):
                work.abandon()
                return
            if chunk.alone or delivery.attempt > 1:
                if len(chunk.images) > 1:
                    work.give_back(chunk.images, chunk.attempt)
                    return
                suspect = self._suspect(chunk, plan)
                if suspect is None:
                    return
                work = suspect
            work.tell_started()
            self._current = (work, delivery)
            work.run(self._watchdog, lambda: self._stopping.is_set() or self._cancelled.has(chunk.job))
            self._current = None
            if self._cancelled.has(chunk.job):
                work.abandon()
                return
            work.settle()
            work.drop_input()
        except BlobLostError:
            self._rest()
            work.restart()
        except UnavailableError as error:
            self._rest()
            work.tell_outcomes()
            self._try_later(delivery, chunk, work.unfinished, error)
        finally:
            self._rest()

    def _rest(self) -> None:
        """Stop the clock: no step is running."""
        self._watchdog.end()
        self._current = None

    def _fail_all(self, chunk: Chunk, images: Sequence[ImageRef], code: ImageCode, message: str, step: str) -> None:
        """Fail images that cannot be worked on at all, such as those whose plan has a step that is not installed."""
        failure = Failure(code=code, message=message, step=step, retry=True, step_index=chunk.step)
        outcomes = [Outcome(id=image.id, state="failed", error=failure, attempts=chunk.attempt) for image in images]
        event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
        self._bench.broker.publish(EVENTS_QUEUE, [event.model_dump_json().encode()])

    def _suspect(self, chunk: Chunk, plan: Plan) -> Work | None:
        """Return the work of an image that a worker may have died over; None if it has been started often enough."""
        image = chunk.images[0]
        starts = read_starts(self._bench.store, chunk.job, chunk.run, image.id, chunk.step)
        if starts.count < self._settings.max_attempts:
            return Work(self._bench, chunk, plan, Starts(starts.count + 1, chunk.step))
        work = Work(self._bench, chunk, plan, starts)
        message = f"the worker died {starts.count} times over this image, last in {plan.steps[starts.step]}"
        work.fail_without_start(ImageCode.STEP_CRASHED, message, starts.step)
        work.settle()
        return None

    def _try_later(self, delivery: Delivery, chunk: Chunk, images: Sequence[ImageRef], error: UnavailableError) -> None:
        """Give images back because the store is away, or give them up when that has been so too often."""
        log.warning("chunk %s of job %s: %s", chunk.chunk, chunk.job, error.message)
        if chunk.attempt < self._settings.max_attempts:
            self._stopping.wait(min(5.0, 0.25 * 4**chunk.attempt))
            again = singles(chunk, images, attempt=chunk.attempt + 1)
            self._bench.broker.publish(delivery.queue, again)
            return
        message = f"tried {chunk.attempt} times: {error.message}"
        step = delivery.queue.removeprefix(step_queue(""))
        self._fail_all(chunk, images, ImageCode.ATTEMPTS_EXHAUSTED, message, step)

    def _time_out(self) -> None:
        """End the image at hand, save the others, and end the process: what hangs cannot be stopped otherwise."""
        if self._current is None or self._consumer is None:
            return
        work, delivery = self._current
        limit = self._settings.step_timeout_secs
        log.error("a step took longer than %g s; this process ends", limit)
        try:
            work.fail_current(ImageCode.STEP_TIMEOUT, f"the step took longer than {limit:g} s")
            work.settle()
            self._consumer.ack(delivery)
            self._bench.broker.close()
        except Exception:
            log.exception("the chunk could not be settled and is delivered again")
        finally:
            os._exit(EXIT_TIMED_OUT)

    def _plan(self, chunk: Chunk) -> Plan:
        if not isinstance(chunk.plan, str):
            return plan_of(chunk.plan)
        try:
            return plan_of(json.loads(self._bench.store.get(chunk.plan)))
        except (ObjectNotFoundError, ValueError) as error:
            raise PlanError("plan_lost", "the job's plan is gone from the store") from error

    def _is_cancelled(self, job: str) -> bool:
        return self._bench.store.size(tombstone_key(job)) is not None


class Tombstones:
    """Which jobs are cancelled, looked up at most once in `hold_secs` for each job."""

    _MAX_JOBS = 1_000

    def __init__(self, look_up: Callable[[str], bool], hold_secs: float) -> None:
        self._look_up = look_up
        self._hold_secs = hold_secs
        self._seen: dict[str, tuple[bool, float]] = {}

    def has(self, job: str) -> bool:
        """Return whether a job was cancelled. Once cancelled it stays so."""
        cancelled, until = self._seen.get(job, (False, 0.0))
        now = time.monotonic()
        if not cancelled and now >= until:
            if len(self._seen) >= self._MAX_JOBS:
                self._seen.clear()
            cancelled = self._look_up(job)
            self._seen[job] = (cancelled, now + self._hold_secs)
        return cancelled
