"""The worker: takes chunks from the queues of the steps it serves, one at a time, and decides how each one ends."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from penstock.common.backoff import Backoff
from penstock.common.broker.base import Consumer, Delivery
from penstock.common.logs import log_context
from penstock.common.model.errors import ImageCode, PlanError, UnavailableError
from penstock.common.model.messages import (
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
from penstock.common.model.plan import Plan, plan_of
from penstock.common.settings import WorkerSettings
from penstock.common.store.base import ObjectNotFoundError
from penstock.common.store.keys import cancellation_key
from penstock.common.tracing.base import UNTRACED
from penstock.worker.attempts import AttemptCount, read_starts
from penstock.worker.cancelled_jobs import CancelledJobs
from penstock.worker.chunk_input import BlobLostError
from penstock.worker.chunk_task import ChunkTask
from penstock.worker.context import WorkerContext
from penstock.worker.finisher import Finisher, WaitGroup
from penstock.worker.inbox import Inbox, Order, PrefetchingInbox
from penstock.worker.liveness import Liveness
from penstock.worker.splitting import singles
from penstock.worker.watchdog import Watchdog

log = logging.getLogger(__name__)

EXIT_TIMED_OUT = 75
"""Exit status of a worker that ended itself because a step took too long."""

_PREFETCH = 2
_IDLE_SECS = 5.0
_PAUSE = Backoff(2.0, 2.0, jitter=0.75)
_LAST_SECS = 5.0
_SETTLE_SECS = 180.0
"""The time limits of all that is asked of store and broker around one image, together."""


@dataclass(frozen=True)
class Ending:
    """What remains to be done for a chunk before its delivery is acknowledged; `work` still keeps pixels until then.

    What `act` returns, unless it is None, is yet to be published, each message to its queue. `names` is what logs call
    a chunk without `work`.
    """

    act: Callable[[], list[tuple[str, bytes]] | None]
    work: ChunkTask | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def context(self) -> AbstractContextManager[None]:
        """Have logs say whose ending it is."""
        return log_context(**(self.work.names if self.work else self.names))


class Worker:
    """Runs until `stop` is called, then finishes the image at hand and gives back the rest.

    With `overlap`, one thread takes the next chunk and begins to read it while this one is worked on, and another
    hands on and acknowledges the last one: for stores that take their time to answer.
    """

    def __init__(self, bench: WorkerContext, settings: WorkerSettings, *, overlap: bool = False) -> None:
        self._bench = bench
        self._settings = settings
        self._queues = [step_queue(step) for step in sorted(bench.served)]
        self._stopping = threading.Event()
        self._watchdog = Watchdog(settings.step_timeout_secs, self._time_out)
        self._cancelled = CancelledJobs(self._is_cancelled, settings.cancel_lookup_secs)
        self._overlap = overlap
        self._behind = Finisher()
        self._sending = WaitGroup()
        self._liveness: Liveness | None = None
        self._consumer: Consumer | None = None
        self._intake: Inbox | PrefetchingInbox | None = None
        self._current: tuple[ChunkTask, Delivery] | None = None

    def run(self) -> None:
        """Take chunks until told to stop."""
        self._declare()
        consumer = self._consumer = self._bench.broker.consume(self._queues, _PREFETCH)
        if self._settings.liveness_file is not None:
            self._liveness = Liveness(self._settings.liveness_file, lambda: self._watchdog.deadline, self._count_ready)
        intake = self._intake = (PrefetchingInbox if self._overlap else Inbox)(consumer, self._open, self._promise)
        while not self._stopping.is_set():
            order = intake.get(_IDLE_SECS)
            if order is None:
                self._bench.teller.tell_measures(self._bench.name)
            else:
                self._handle(consumer, order)
        intake.close()
        self._behind.close()
        self._sending.wait(self._settings.drain_secs)
        self._bench.teller.tell_measures(self._bench.name)
        self._bench.teller.close()
        consumer.close()
        self._bench.hands.close()
        self._watchdog.close()
        if self._liveness is not None:
            self._liveness.close()
        self._bench.tracing.close()

    @property
    def consumes(self) -> bool:
        """Whether it has begun to take chunks."""
        return self._consumer is not None

    def stop(self) -> None:
        """Ask the worker to leave; returns at once."""
        self._stopping.set()
        if self._liveness is not None:
            self._liveness.leave()
        if self._intake is not None:
            self._intake.wake()

    def _declare(self) -> None:
        """Make sure that the queues are there, as soon as there is a broker."""
        while not self._stopping.is_set():
            try:
                self._bench.broker.declare([*self._queues, EVENTS_QUEUE])
                return
            except UnavailableError as error:
                log.warning("%s; waiting for it", error.message)
                self._pause()

    def _pause(self) -> None:
        """Wait a little, each worker another while, so that what comes back is not met by all at once."""
        _PAUSE.wait(self._stopping)

    def _promise(self, who: str, secs: float) -> None:
        if self._liveness is not None:
            self._liveness.promise(who, secs)

    def _count_ready(self) -> int:
        return sum(self._bench.broker.depth(queue).ready for queue in self._queues)

    def _open(self, delivery: Delivery) -> ChunkTask:
        """Return the work that a delivery asks for.

        Raises:
            MessageError: it cannot be read.
            PlanError: its plan cannot be run here.
            UnavailableError: the store, where its plan lies, is away.
        """
        if self._liveness is not None:
            self._liveness.note_taken()
        chunk = read_chunk(delivery.body)
        plan = self._plan(chunk)
        if not 0 <= chunk.step < len(plan.steps) or not chunk.images:
            raise MessageError("unreadable_message", f"step {chunk.step} of {len(plan.steps)}")
        work = ChunkTask(self._bench, chunk, plan)
        if not chunk.alone and delivery.attempt == 1:
            work.read_ahead()
        return work

    def _handle(self, consumer: Consumer, order: Order) -> None:
        """Do a chunk's work, then what follows from it, with `overlap` beside the next chunk's work."""
        self._promise("the loop", _SETTLE_SECS)
        self._bench.tally.count_chunk(_step_of(order.delivery), redelivered=order.delivery.attempt > 1)
        ending = self._work(order)
        self._promise("the loop", _SETTLE_SECS)
        if self._overlap and not (ending.work and ending.work.is_suspect):
            self._behind.do(partial(self._settle, consumer, order.delivery, ending))
        else:
            self._settle(consumer, order.delivery, ending)

    def _settle(self, consumer: Consumer, delivery: Delivery, ending: Ending) -> None:
        """Bring a delivery to its end; where that cannot be told, the broker delivers it again."""
        with ending.context():
            try:
                messages = ending.act()
                if messages is None:
                    consumer.ack(delivery)
                else:
                    self._send(consumer, delivery, ending, messages)
            except UnavailableError as error:
                self._give_back(consumer, delivery, ending, error)
            finally:
                if ending.work is not None:
                    ending.work.release()

    def _send(self, consumer: Consumer, delivery: Delivery, ending: Ending, messages: list[tuple[str, bytes]]) -> None:
        """Publish what a chunk became, and acknowledge it once the broker has that; nobody waits for it here."""

        publishing = ending.work.trace.start_span("publish") if ending.work else UNTRACED

        def settled(error: UnavailableError | None) -> None:
            with ending.context():
                try:
                    if error is None:
                        self._clear_up(ending.work)
                        consumer.ack(delivery)
                    else:
                        publishing.record_error(error)
                        again = threading.Thread(
                            target=self._give_back, args=(consumer, delivery, ending, error), daemon=True
                        )
                        again.start()
                except Exception:
                    log.warning("a chunk from %s is not acknowledged and comes again", delivery.queue, exc_info=True)
                finally:
                    publishing.end()
                    self._sending.end()

        self._sending.begin()
        try:
            self._bench.broker.publish_then(messages, settled)
        except UnavailableError:
            self._sending.end()
            raise

    def _give_back(self, consumer: Consumer, delivery: Delivery, ending: Ending, error: UnavailableError) -> None:
        """Have a chunk delivered again because the broker was away, which is nobody's fault."""
        with ending.context():
            log.warning("a chunk from %s is given back: %s", delivery.queue, error.message)
        if ending.work is not None:
            ending.work.forgive()
        self._pause()
        consumer.nack(delivery)

    def _clear_up(self, work: ChunkTask | None) -> None:
        if work is not None:
            try:
                work.clear_up()
            except UnavailableError as error:
                log.warning("an intermediate is left to the sweep: %s", error.message)

    def _work(self, order: Order) -> Ending:
        """Work on a chunk as far as it goes; return how it ends."""
        delivery = order.delivery
        try:
            work = order.open()
        except MessageError as error:
            log.warning("unreadable message: %s", error.message, extra={"step": _step_of(delivery)})
            return Ending(partial(self._reject, delivery, error.message))
        except PlanError as error:
            chunk = read_chunk(delivery.body)
            fail = partial(self._fail_all, chunk, chunk.images, ImageCode.INTERNAL, error.message, "plan")
            return Ending(fail, names=_names_of(chunk, delivery))
        except UnavailableError as error:
            chunk = read_chunk(delivery.body)
            later = partial(self._try_later, delivery, chunk, chunk.images, error)
            return Ending(later, names=_names_of(chunk, delivery))
        with log_context(**work.names):
            log.debug("%d images, delivered %d times", len(work.chunk.images), delivery.attempt)
            return self._work_on(work, delivery)

    def _work_on(self, work: ChunkTask, delivery: Delivery) -> Ending:
        chunk = work.chunk
        try:
            if self._cancelled.has(chunk.job):
                return Ending(work.abandon, work)
            if chunk.alone or delivery.attempt > 1:
                if len(chunk.images) > 1:
                    return Ending(partial(work.give_back, chunk.images, chunk.attempt), names=work.names)
                suspect = self._suspect(chunk, work.plan)
                if suspect is None:
                    return Ending(_nothing)
                work = suspect
            work.begin()
            self._current = (work, delivery)
            work.run(self._watchdog, partial(self._should_end, chunk.job))
            self._current = None
            if self._cancelled.has(chunk.job):
                return Ending(work.abandon, work)
            return Ending(partial(self._hand_on, delivery, work), work)
        except BlobLostError:
            return Ending(work.restart, work)
        except UnavailableError as error:
            return Ending(partial(self._save, delivery, work, error), work)
        finally:
            self._rest()

    def _should_end(self, job: str) -> bool:
        self._promise("the loop", _SETTLE_SECS)
        return self._stopping.is_set() or self._cancelled.has(job)

    def _rest(self) -> None:
        """Stop the clock: no step is running."""
        self._watchdog.end()
        self._current = None

    def _reject(self, delivery: Delivery, reason: str) -> None:
        assert self._consumer is not None
        self._consumer.reject(delivery, reason)

    def _hand_on(self, delivery: Delivery, work: ChunkTask) -> list[tuple[str, bytes]] | None:
        """Store what was done, and return what is to be published of it; where the store is away, save what can be."""
        try:
            if not self._overlap and not work.is_suspect:
                return work.wrap_up()
            work.settle()
            work.clear_up()
        except UnavailableError as error:
            self._save(delivery, work, error)
        return None

    def _save(self, delivery: Delivery, work: ChunkTask, error: UnavailableError) -> None:
        """Tell what is final, and have the rest tried later; without a broker nothing can be told, nor counts."""
        if error.what == "broker":
            raise error
        work.tell_outcomes()
        self._try_later(delivery, work.chunk, work.unfinished, error)

    def _fail_all(self, chunk: Chunk, images: Sequence[ImageRef], code: ImageCode, message: str, step: str) -> None:
        """Fail images that cannot be worked on at all, such as those whose plan has a step that is not installed."""
        failure = Failure(code=code, message=message, step=step, retry=True, step_index=chunk.step)
        outcomes = [Outcome(id=image.id, state="failed", error=failure, attempts=chunk.attempt) for image in images]
        event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
        self._bench.teller.tell_final(event, chunk.chunk)

    def _suspect(self, chunk: Chunk, plan: Plan) -> ChunkTask | None:
        """Return the work of an image that a worker may have died over; None if it has been started often enough."""
        image = chunk.images[0]
        starts = read_starts(self._bench.store, chunk.job, chunk.run, image.id, chunk.step)
        if starts.count < self._settings.max_attempts:
            return ChunkTask(self._bench, chunk, plan, AttemptCount(starts.count + 1, chunk.step))
        work = ChunkTask(self._bench, chunk, plan, starts)
        message = f"the worker died {starts.count} times over this image, last in {plan.steps[starts.step]}"
        work.fail_without_start(ImageCode.STEP_CRASHED, message, starts.step)
        work.settle()
        return None

    def _try_later(self, delivery: Delivery, chunk: Chunk, images: Sequence[ImageRef], error: UnavailableError) -> None:
        """Give images back because the store is away, or give them up when that has been so too often."""
        log.warning("%d images, attempt %d: %s", len(images), chunk.attempt, error.message)
        if chunk.attempt < self._settings.max_attempts:
            self._stopping.wait(min(5.0, 0.25 * 4**chunk.attempt))
            again = singles(chunk, images, attempt=chunk.attempt + 1)
            self._bench.broker.publish(delivery.queue, again)
            return
        message = f"tried {chunk.attempt} times: {error.message}"
        self._fail_all(chunk, images, ImageCode.ATTEMPTS_EXHAUSTED, message, _step_of(delivery))

    def _time_out(self) -> None:
        """End the image at hand, save the others, and end the process: what hangs cannot be stopped otherwise."""
        if self._current is None or self._consumer is None:
            return
        work, delivery = self._current
        limit = self._settings.step_timeout_secs
        with log_context(**work.names):
            log.error("a step took longer than %g s; this process ends", limit)
        try:
            work.fail_current(ImageCode.STEP_TIMEOUT, f"the step took longer than {limit:g} s")
            work.settle()
            self._consumer.ack(delivery)
            self._behind.wait(_LAST_SECS)
            self._sending.wait(_LAST_SECS)
            self._bench.broker.close()
            work.trace.end()
            self._bench.tracing.close()
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
        return self._bench.store.size(cancellation_key(job)) is not None


def _step_of(delivery: Delivery) -> str:
    return delivery.queue.removeprefix(step_queue(""))


def _names_of(chunk: Chunk, delivery: Delivery) -> dict[str, str]:
    return {"job": chunk.job, "step": _step_of(delivery), "chunk": chunk.chunk}


def _nothing() -> None:
    """Do nothing: all has been told already."""
