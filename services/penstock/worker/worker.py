"""Worker: takes chunks from the queues of its steps, one at a time, runs them, and acknowledges them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from penstock.common.backoff import Backoff
from penstock.common.broker.base import Broker, Consumer
from penstock.common.input_root import InputRoot
from penstock.common.logs import log_context, update_log_context
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import ImageCode, ImageError, PlanError, UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, MessageError, step_queue
from penstock.common.settings import Limits, WorkerSettings
from penstock.common.store.base import Store
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.common.store.composite import CompositeStore
from penstock.common.store.keys import cancellation_key
from penstock.common.tracing.base import NO_TRACING, Trace, Tracing
from penstock.worker.cancelled_jobs import CancelledJobs, JobCancelledError
from penstock.worker.chunk_input import BlobLostError, PixelBudget
from penstock.worker.chunk_task import IO_SECS, ChunkTask
from penstock.worker.context import WorkerContext
from penstock.worker.events import EventPublisher
from penstock.worker.executors.base import StepExecutor
from penstock.worker.image_sources import ImageSources
from penstock.worker.inbox import Inbox
from penstock.worker.liveness import Liveness
from penstock.worker.memory import WorkerMemory
from penstock.worker.outage import Outage, is_outage
from penstock.worker.watchdog import StepLimits, Watchdog

log = logging.getLogger(__name__)

EXIT_TIMED_OUT = 75
"""Exit status of a worker that ended itself because a step exceeded a limit, or its job was cancelled."""

_PREFETCH = 2
_PREFETCH_THREADS = 2
"""One for the next image of this chunk, one for the next chunk."""
_POLL_SECS = 5.0
_PRESENCE_SECS = 15.0
_EXIT_SECS = 5.0
_RETRY_BACKOFF = Backoff(1.0, 5.0, factor=4.0, jitter=0.0)
_PROBE_GROWTH = 8


class Worker:
    """Runs until `stop` is called; then it finishes the current image and requeues the rest.

    If the context has a prefetcher, input and output overlap with the work: the next chunk is received and read, and
    the last one is stored and published, on threads of their own. This is for stores that take long to answer.
    """

    def __init__(self, context: WorkerContext, settings: WorkerSettings, requeue_secs: float = 2.0) -> None:
        self.context = context
        self._settings = settings
        self._outage = Outage(
            {"store": context.store.check, "broker": context.broker.check},
            Backoff(requeue_secs, requeue_secs * _PROBE_GROWTH),
            self._report_outage,
            context.counters,
            context.served,
        )
        self._queues = [step_queue(step) for step in sorted(context.served)]
        self._stopping = threading.Event()
        self._watchdog = Watchdog(
            StepLimits(settings.step_timeout_secs, settings.wall_limit_secs),
            self._time_out,
            is_cancelled=self._is_current_cancelled,
            on_cancel=self._end_cancelled,
            lookup_secs=settings.cancel_lookup_secs,
        )
        self._cancelled = CancelledJobs(self._is_cancelled, settings.cancel_lookup_secs)
        self._liveness: Liveness | None = None
        self._consumer: Consumer
        self._inbox: Inbox | None = None
        self._current: ChunkTask | None = None
        self._completer = ThreadPoolExecutor(1, "completer") if context.prefetcher else None
        self._completing: Future[None] = _done()
        self._unconfirmed: list[Future[None]] = []
        self._told_at = time.monotonic() - _PRESENCE_SECS + _POLL_SECS  # soon, but not before its first chunk

    def run(self) -> None:
        """Handle chunks until `stop` is called."""
        self._declare_queues()
        try:
            self._consume()
            if (file := self._settings.liveness_file) is not None:
                self._liveness = Liveness(file, lambda: self._watchdog.deadline, self._count_ready)
            while not self._stopping.is_set():
                if self._outage.must_wait:
                    self._pause()
                    continue
                assert self._inbox is not None
                self._tell_presence()
                task = self._inbox.get(_POLL_SECS)
                if task is None:
                    self.context.events.publish_counters(self.context.name)
                else:
                    self.handle(task)
        finally:
            if self._inbox is not None:
                self._inbox.close()  # after an unexpected error too: its thread would keep the process alive
        self._close()

    def _consume(self) -> None:
        self._consumer = self.context.broker.consume(self._queues, _PREFETCH)
        make_task = partial(ChunkTask, self.context)
        overlap = self.context.prefetcher is not None
        self._inbox = Inbox(self._consumer, make_task, self._set_deadline, prefetch=overlap)

    def _pause(self) -> None:
        """Give back all chunks, wait for what cannot be used, and consume again."""
        assert self._inbox is not None
        self._set_deadline("the consumer loop", IO_SECS)
        self._completing.result()
        inbox, self._inbox = self._inbox, None
        inbox.close()
        self._consumer.close()
        if self._liveness is not None:
            self._liveness.pause(True)
        self._outage.wait(self._stopping)
        if self._liveness is not None:
            self._liveness.pause(False)
        if not self._stopping.is_set():
            self._consume()

    def _tell_presence(self) -> None:
        """Publish, four times a minute, that the worker is there and works."""
        if time.monotonic() - self._told_at >= _PRESENCE_SECS:
            self._told_at = time.monotonic()
            self.context.events.publish_state(self.context.name, None, self.context.served)

    def _report_outage(self, error: UnavailableError | None) -> None:
        """Publish what the worker waits for, if the broker is not it."""
        self._set_deadline("the consumer loop", IO_SECS)
        if error is None or error.what != "broker":
            waiting_for = None if error is None else error.waiting_for
            self.context.events.publish_state(self.context.name, waiting_for, self.context.served)

    @property
    def is_consuming(self) -> bool:
        """Whether it has started to consume."""
        return self._inbox is not None

    def stop(self) -> None:
        """Tell the worker to drain; returns at once. May be called from a signal handler."""
        self._stopping.set()
        if self._liveness is not None:
            self._liveness.stop()
        if self._inbox is not None:
            self._inbox.stop()

    def handle(self, task: ChunkTask) -> None:
        """Run a delivered chunk; then complete, reject, fail, restart, retry it or give it back."""
        self._set_deadline("the consumer loop", IO_SECS)
        if self._liveness is not None:
            self._liveness.count_delivery()
        self.context.counters.count_chunk(task.queued_step, redelivered=task.delivery.attempt > 1)
        with log_context(step=task.queued_step):
            try:
                task.load()
                if self._is_runnable(task):
                    self._current = task
                    task.run(self._watchdog, partial(self._should_stop, task.chunk.job))
            except MessageError as error:
                log.warning("unreadable message rejected: %s", error.message)
                self._consumer.reject(task.delivery, error.message)
            except PlanError as error:
                self._settle(task, partial(task.fail_all, ImageCode.INTERNAL, error.message, "plan"))
            except JobCancelledError:
                self._settle(task, task.discard)
            except BlobLostError:
                self._settle(task, task.restart)
            except UnavailableError as error:
                self._recover(task, error)
            else:
                if self._completer is None or task.is_suspect:
                    self._complete(task)
                else:
                    self._completing.result()  # one at a time: what it keeps in memory is bounded
                    self._completing = self._completer.submit(self._complete, task)

    def _is_runnable(self, task: ChunkTask) -> bool:
        """Return whether to run a chunk; if not, it is complete as it is: to be split into images, or failed."""
        update_log_context(**task.log_fields)
        log.debug("%d images, delivered %d times", len(task.chunk.images), task.delivery.attempt)
        self._cancelled.check(task.chunk.job)
        if not task.is_redelivered:
            return True
        return len(task.chunk.images) == 1 and task.count_attempt(self._settings.max_attempts)

    def _should_stop(self, job: str) -> bool:
        self._set_deadline("the consumer loop", IO_SECS)
        self._cancelled.check(job)
        return self._stopping.is_set()

    def _complete(self, task: ChunkTask) -> None:
        """Store and publish a chunk's results and outcomes, and acknowledge it once the broker has confirmed them."""
        broker, consumer = self.context.broker, self._consumer
        with log_context(**task.log_fields):
            try:
                if self._completer is not None or task.is_suspect:
                    task.publish()
                    task.clean_up()
                    consumer.ack(task.delivery)
                    self._outage.end(task.taken_at)
                else:
                    messages, confirmed = task.take_messages(), Future[None]()
                    broker.publish_then(
                        messages, partial(self._on_confirm, task, task.trace.start_span("publish"), confirmed)
                    )
                    self._unconfirmed = [*(each for each in self._unconfirmed if not each.done()), confirmed]
            except UnavailableError as error:
                self._recover(task, error)
            finally:
                task.release()

    def _on_confirm(
        self, task: ChunkTask, publishing: Trace, confirmed: Future[None], error: UnavailableError | None
    ) -> None:
        """Acknowledge a chunk whose messages are confirmed; requeue it otherwise. Runs on the broker's thread."""
        with log_context(**task.log_fields):
            try:
                if error is None:
                    task.clean_up()
                    self._consumer.ack(task.delivery)
                    self._outage.end(task.taken_at)
                else:
                    publishing.record_error(error)
                    threading.Thread(target=self._requeue, args=(task, error), daemon=True).start()
            except Exception:
                log.warning("chunk not acknowledged; it will be redelivered", exc_info=True)
            finally:
                publishing.end()
                confirmed.set_result(None)

    def _settle(self, task: ChunkTask, publish: Callable[[], None]) -> None:
        """Publish messages in place of a chunk that cannot be completed, and acknowledge it."""
        self._set_deadline("the consumer loop", IO_SECS)
        with log_context(**task.log_fields):
            try:
                publish()
                self._consumer.ack(task.delivery)
            except UnavailableError as error:
                self._requeue(task, error)
            finally:
                task.release()

    def _recover(self, task: ChunkTask, error: UnavailableError) -> None:
        """Give back a chunk that met an outage, without counting an attempt; retry one whose images may be at fault."""
        if not is_outage(error):
            self._settle(task, partial(self._retry, task, error))
            return
        if error.what == "broker":
            self._requeue(task, error)
            task.release()
            return
        with log_context(**task.log_fields):
            self._outage.begin(error)
        self._settle(task, partial(task.give_back, error.waiting_for))

    def _retry(self, task: ChunkTask, error: UnavailableError) -> None:
        """Publish the outcomes so far and requeue the other images; fail them after their last attempt."""
        task.publish_outcomes()
        attempt = task.chunk.attempt
        log.warning("attempt %d of %d images failed: %s", attempt, len(task.unfinished), error.message)
        if attempt < self._settings.max_attempts:
            self._stopping.wait(_RETRY_BACKOFF.delay_secs(attempt - 1))
            task.requeue(attempt + 1)
        else:
            message = f"tried {attempt} times: {error.message}"
            task.fail_all(ImageCode.ATTEMPTS_EXHAUSTED, message, task.queued_step)

    def _requeue(self, task: ChunkTask, error: UnavailableError) -> None:
        """Requeue a whole chunk; no image caused the failure, so no attempt is counted."""
        with log_context(**task.log_fields):
            log.debug("chunk requeued: %s", error.message)
            self._outage.begin(error)
            task.forgive_attempt()
            self._consumer.nack(task.delivery)

    def _is_current_cancelled(self) -> bool:
        """Return whether the job of the current image was cancelled, as far as the store tells; for the watchdog."""
        try:
            return self._current is not None and self._is_cancelled(self._current.chunk.job)
        except UnavailableError:
            return False

    def _time_out(self, reason: str) -> None:
        """Fail the current image, save the others and end the process, because native code cannot be interrupted."""
        task = self._current
        assert task is not None

        def publish() -> None:
            task.fail_current(ImageError(ImageCode.STEP_TIMEOUT, reason))
            task.publish()

        self._end_process(task, publish, reason)

    def _end_cancelled(self) -> None:
        """Drop the current chunk and end the process, because its job was cancelled while a long step runs."""
        task = self._current
        assert task is not None
        self._end_process(task, task.discard, "the job was cancelled")

    def _end_process(self, task: ChunkTask, publish: Callable[[], None], reason: str) -> None:
        with log_context(**task.log_fields):
            log.error("%s; this process ends, because a step cannot be interrupted", reason)
            try:
                publish()
                self._consumer.ack(task.delivery)
                wait([self._completing, *self._unconfirmed], _EXIT_SECS)
                self.context.executor.kill()
                self.context.broker.close()
                task.trace.end()
                self.context.tracing.close()
            except Exception:
                log.exception("chunk not completed; it will be redelivered")
            finally:
                os._exit(EXIT_TIMED_OUT)

    def _declare_queues(self) -> None:
        """Declare the queues, as soon as the broker is reachable."""
        while not self._stopping.is_set():
            try:
                self.context.broker.declare([*self._queues, EVENTS_QUEUE])
                self._outage.end(time.monotonic())
                return
            except UnavailableError as error:
                self._outage.begin(error)
                self._outage.wait(self._stopping)

    def _set_deadline(self, thread: str, secs: float) -> None:
        if self._liveness is not None:
            self._liveness.set_deadline(thread, secs)

    def _count_ready(self) -> int:
        return sum(self.context.broker.depth(queue).ready for queue in self._queues)

    def _is_cancelled(self, job: str) -> bool:
        return self.context.store.size(cancellation_key(job)) is not None

    def _close(self) -> None:
        """Wait for what is being completed, and stop everything that was started."""
        context = self.context
        self._completing.result()
        if self._completer is not None:
            self._completer.shutdown()
        wait(self._unconfirmed, self._settings.drain_secs)
        context.events.publish_counters(context.name)
        context.events.close()
        self._consumer.close()
        context.executor.close()
        self._watchdog.close()
        if self._liveness is not None:
            self._liveness.close()
        if context.prefetcher is not None:
            context.prefetcher.shutdown(wait=False, cancel_futures=True)
        context.tracing.close()


def _done() -> Future[None]:
    done = Future[None]()
    done.set_result(None)
    return done


def build_worker(
    name: str,
    served: Collection[str],
    store: Store,
    broker: Broker,
    executor: StepExecutor,
    limits: Limits,
    settings: WorkerSettings,
    *,
    input_root: InputRoot | None,
    buckets: BucketAllowlist | None = None,
    counters: CallCounters | None = None,
    tracing: Tracing = NO_TRACING,
    memory: WorkerMemory | None = None,
    overlap: bool = False,
    requeue_secs: float = 2.0,
) -> Worker:
    """Return a worker that serves some steps.

    Args:
        name: names the worker in its events.
        served: the steps that it runs.
        input_root: the folder below which images' files may be; None: no files.
        buckets: the buckets that images may be read from and results written to; None: none.
        memory: what the process may use; None: as much as it likes.
        counters: count the calls of the broker; those of the store are added.
        overlap: whether to read the next chunk and write the last one while one is processed.
        requeue_secs: longest wait before a chunk is requeued after the broker refused its messages.
    """
    buckets = buckets or BucketAllowlist()
    counters = counters or CallCounters()
    store = CompositeStore(store, buckets, counters)
    context = WorkerContext(
        name=name,
        served=frozenset(served),
        store=store,
        broker=broker,
        sources=ImageSources(store, limits, input_root, buckets),
        executor=executor,
        pixel_budget=PixelBudget(_pixels_to_hold(settings, memory)),
        prefetcher=ThreadPoolExecutor(_PREFETCH_THREADS, "prefetch") if overlap else None,
        tracing=tracing,
        counters=counters,
        events=EventPublisher(broker, counters),
        memory=memory,
        image_timeout_secs=settings.image_timeout_secs,
    )
    return Worker(context, settings, requeue_secs)


def _pixels_to_hold(settings: WorkerSettings, memory: WorkerMemory | None) -> int:
    """Return the pixels to hold besides the image that is processed: of a quarter of the memory, at most."""
    if memory is None:
        return settings.max_pixels_in_flight
    return min(settings.max_pixels_in_flight, max(0, memory.available_bytes) // 4 // 3)
