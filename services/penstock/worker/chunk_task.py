"""ChunkTask: one delivered chunk; runs the served steps on its images, one image after the other.

However the run ends (all done, a time limit, a signal, an unreachable store), no image is left behind: each has its
outcome published, is handed on to the next step, or is requeued for this one.
"""

import hashlib
import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal

from penstock.common.broker.base import Broker, Delivery
from penstock.common.logs import update_log_context
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import RETRY_MAY_HELP, ImageCode, ImageError, PlanError, UnavailableError
from penstock.common.model.messages import (
    EVENTS_QUEUE,
    Chunk,
    Event,
    Failure,
    ImageRef,
    MessageError,
    Outcome,
    Result,
    StepTime,
    read_chunk,
    step_queue,
)
from penstock.common.model.operations import DECODE, Decode
from penstock.common.model.plan import Plan, Planned, plan_of
from penstock.common.model.result_names import ResultNames
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.keys import result_key, resume_key, work_key
from penstock.common.tracing.base import UNTRACED, Trace, Tracing
from penstock.steps.image import Image
from penstock.worker.attempts import Attempts
from penstock.worker.cancelled_jobs import JobCancelledError
from penstock.worker.chunk_input import BlobLostError, ChunkInput, PixelBudget
from penstock.worker.events import EventPublisher
from penstock.worker.executors.base import File, Part, StepExecutor, as_image_error
from penstock.worker.executors.safetensors import pack_chunk
from penstock.worker.image_sources import ImageSources
from penstock.worker.memory import WorkerMemory
from penstock.worker.watchdog import Watchdog

log = logging.getLogger(__name__)

_SLOW_SECS = 2.0
IO_SECS = 180.0
"""Upper bound for all store and broker calls around one image."""


@dataclass(frozen=True)
class WorkerContext:
    """What a worker's parts share. `served` are its steps; `prefetcher` reads ahead, None: nothing does."""

    name: str
    served: frozenset[str]
    store: Store
    broker: Broker
    sources: ImageSources
    executor: StepExecutor
    pixel_budget: PixelBudget
    prefetcher: Executor | None
    tracing: Tracing
    counters: CallCounters
    events: EventPublisher
    memory: WorkerMemory | None = None
    image_timeout_secs: float = math.inf


class ChunkTask:
    """The state of one chunk in a worker.

    `pending` are the images without a result, the current one first. Every method that loads, stores or publishes
    raises UnavailableError if the store or the broker is unreachable.
    """

    chunk: Chunk
    plan: Plan
    pending: deque[ImageRef]

    def __init__(self, context: WorkerContext, delivery: Delivery) -> None:
        self.delivery = delivery
        self.taken_at = time.monotonic()
        self.trace: Trace = UNTRACED
        self._context = context
        self._loaded = False
        self._outcomes: list[Outcome] = []
        self._ready: list[tuple[ImageRef, list[Image]]] = []
        """Images that wait for the next step, with their parts."""
        self._suspect: Attempts | None = None
        self._at = 0
        self._step_input: list[Part] = []
        self._work_secs: dict[int, float] = {}
        self._spent_secs = 0.0
        self._published_at = 0.0

    def load(self) -> None:
        """Read the message, and the plan from the store unless the message has it. Does nothing once it has succeeded.

        Raises:
            MessageError: the message cannot be read.
            PlanError: the plan cannot be run here.
        """
        if self._loaded:
            return
        self.chunk = chunk = read_chunk(self.delivery.body)
        self.pending = deque(chunk.images)
        self._at = chunk.step
        self.plan = plan = self._load_plan(chunk)
        if not 0 <= chunk.step < len(plan.steps) or not chunk.images:
            raise MessageError("unreadable_message", f"step {chunk.step} of {len(plan.steps)}")
        context = self._context
        following = takewhile(context.served.__contains__, plan.steps[chunk.step + 1 :])
        self._end = chunk.step + 1 + len([*following])
        self._input = ChunkInput(
            chunk, context.store, context.sources, context.pixel_budget, context.prefetcher, context.memory
        )
        operations = list(enumerate(plan.operations))[chunk.step : self._end]
        self._operations: list[tuple[int, Planned]] = operations
        if chunk.blob is None:
            self._operations = [(chunk.step, plan.decoding), *operations]
        self._loaded = True

    def prefetch(self) -> None:
        """Load the chunk and start to read its input ahead; errors are left to `load`."""
        with suppress(MessageError, PlanError, UnavailableError):
            self.load()
            if not self.is_redelivered:
                self._input.prefetch()

    @property
    def queued_step(self) -> str:
        """The step whose queue the chunk came from."""
        return self.delivery.queue.removeprefix(step_queue(""))

    @property
    def log_fields(self) -> dict[str, str]:
        """What log records say about it."""
        step = self.plan.steps[self._at] if self._loaded else self.queued_step
        return {"job": self.chunk.job, "step": step, "chunk": self.chunk.chunk}

    @property
    def is_redelivered(self) -> bool:
        """Whether a worker may have died while it had this chunk."""
        return self.chunk.alone or self.delivery.attempt > 1

    @property
    def is_suspect(self) -> bool:
        """Whether its image's attempts are counted. Then it must be finished before anything else is started, or the
        image would be blamed for what that does to the worker."""
        return self._suspect is not None

    @property
    def unfinished(self) -> list[ImageRef]:
        """The images that have no outcome and were not handed on."""
        return [*(image for image, _ in self._ready), *self.pending]

    def count_attempt(self, max_attempts: int) -> bool:
        """Return whether the image of a redelivered chunk may be started again; fail it otherwise.

        It fails without its pixels being read: they may be what the worker has no memory for. So a retry starts from
        the image's file.
        """
        chunk = self.chunk
        attempts = self._suspect = Attempts(self._context.store, chunk)
        if attempts.count < max_attempts:
            attempts.count += 1
            return True
        crashed_in = self.plan.steps[attempts.step]
        self._at = attempts.step
        message = f"the worker died {attempts.count} times while it processed this image, last in {crashed_in}"
        self.fail_current(ImageError(ImageCode.STEP_CRASHED, message, crashed_in))
        return False

    def run(self, watchdog: Watchdog, should_stop: Callable[[], bool]) -> None:
        """Run the served steps on every pending image, until `should_stop` returns true between two images.

        Raises:
            JobCancelledError: `should_stop` raised it between two images or two steps.
            BlobLostError: the intermediates are gone.
            UnavailableError: a step's program cannot be started.
        """
        executor = self._context.executor
        self._start()
        self._published_at = time.monotonic()
        while not should_stop() and self.pending:
            image = self.pending[0]
            try:
                self._begin()
                with self._stage(watchdog, image, self.chunk.step, "read"):
                    parts = self._input.read(image)
                for index, operation in self._operations_on(image):
                    self._check_before_step(should_stop)
                    self._enter(index, [] if operation.step == DECODE else parts)
                    with self._stage(watchdog, image, index, operation.step):
                        parts = executor.perform(operation, parts)
                results = (
                    self._write_results(watchdog, image, parts) if self._end == len(self.plan.operations) else None
                )
            except (BlobLostError, UnavailableError, JobCancelledError) as error:
                self.trace.record_error(error)
                raise
            except Exception as error:
                self.fail_current(as_image_error(error))
            else:
                self._finish(image, parts, results)
            executor.reset()
            self._publish_if_slow()

    def _publish_if_slow(self) -> None:
        """Publish the outcomes so far if images take long, so that others see them, and that the next one is started.

        Steps that hand images on keep them until the chunk ends.
        """
        if self._outcomes and self.pending and time.monotonic() - self._published_at > _SLOW_SECS:
            self._published_at = time.monotonic()
            self.publish_outcomes()
            started = self._event("started", self.chunk, images=[image.id for image in self.pending])
            self._context.events.publish_progress(started, self.chunk.chunk)

    def fail_current(self, error: ImageError) -> None:
        """Fail the current image; its step's input is kept if a retry can use it."""
        image = self.pending[0]
        self.trace.record_error(error)
        failure = Failure(
            code=error.code,
            message=error.message,
            step=error.step or self.plan.steps[self._at],
            retry=error.code in RETRY_MAY_HELP,
            step_index=self._at,
        )
        kept = self._context.executor.images(self._step_input) if self._at and failure.retry else []
        if kept:
            failure.resume_blob = resume_key(self.chunk.job, self.chunk.run, image.id)
            failure.resume_parts = len(kept)
            self._context.store.put(failure.resume_blob, pack_chunk({0: kept}))
        self.pending.popleft()
        self._outcomes.append(
            Outcome(id=image.id, state="failed", error=failure, timings=image.timings, attempts=self._attempts)
        )

    def fail_all(self, code: ImageCode, message: str, step: str) -> None:
        """Publish that every unfinished image has failed, without starting it."""
        chunk = self.chunk
        failure = Failure(code=code, message=message, step=step, retry=True, step_index=chunk.step)
        outcomes = [
            Outcome(id=image.id, state="failed", error=failure, attempts=chunk.attempt) for image in self.unfinished
        ]
        event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
        self._context.events.publish_outcomes(event, chunk.chunk)

    def take_messages(self) -> list[tuple[str, bytes]]:
        """Store what is ready for the next step; return all messages that complete the chunk, with their queues."""
        messages = [self._store_ready()] if self._ready else []
        if self._outcomes:
            messages.append((EVENTS_QUEUE, self._context.events.make_message(self._take_outcomes(), self.chunk.chunk)))
        if self.pending:
            queue = step_queue(self.plan.steps[self.chunk.step])
            again = _split_into_images(self.chunk, self.pending, self.chunk.attempt)
            messages += [(queue, body) for body in again]
        return messages

    def publish(self) -> None:
        """Publish all messages that complete the chunk; returns once the broker has confirmed them."""
        messages = self.take_messages()
        with self.trace.span("publish"):
            for queue, body in messages:
                self._context.broker.publish(queue, [body])

    def publish_outcomes(self) -> None:
        """Publish the outcomes so far; for a cancelled job too, so that the coordinator removes its results."""
        if self._outcomes:
            self._context.events.publish_outcomes(self._take_outcomes(), self.chunk.chunk)

    def discard(self) -> None:
        """Drop the rest of a cancelled job's chunk, and its intermediates."""
        self.publish_outcomes()
        if self.chunk.blob:
            self._context.store.delete(self.chunk.blob)

    def give_back(self) -> None:
        """Publish the outcomes so far, and the unfinished images to the queue that the chunk came from, as one chunk.

        No attempt is counted.
        """
        self.publish_outcomes()
        chunk, images = self.chunk, self.unfinished
        if not images:
            return
        changes: dict[str, Any] = {
            "images": [_without_times(image, chunk.step) for image in images],
            "alone": chunk.alone or self.is_suspect,
            "forgiven": chunk.forgiven + (not self.forgive_attempt()),
            "enqueued_at": time.time(),
        }
        if len(images) < len(chunk.images):
            changes["chunk"] = _name_subset(chunk.chunk, images)
        self._context.broker.publish(self.delivery.queue, [chunk.model_copy(update=changes).model_dump_json().encode()])

    def requeue(self, attempt: int) -> None:
        """Publish every unfinished image to the queue that the chunk came from, in a message of its own."""
        self._context.broker.publish(self.delivery.queue, _split_into_images(self.chunk, self.unfinished, attempt))

    def restart(self) -> None:
        """Publish every image to the first step's queue, to start from its source again."""
        images = [image.model_copy(update={"parts": 0, "slot": 0, "timings": []}) for image in self.chunk.images]
        chunk = self.chunk.model_copy(update={"step": 0, "blob": None})
        again = _split_into_images(chunk, images, chunk.attempt)
        self._context.broker.publish(step_queue(self.plan.steps[0]), again)

    def forgive_attempt(self) -> bool:
        """Uncount a start that no worker died in; return false if it stays counted: the store is unreachable."""
        return self._suspect is None or self._suspect.forgive()

    def clean_up(self) -> None:
        """Forgive the attempt and remove the chunk's intermediates, once all messages are confirmed.

        The attempt is forgiven before the acknowledgement: if that is lost, the chunk is delivered again although no
        worker has died.
        """
        self.forgive_attempt()
        if self.chunk.blob and not self.chunk.alone and not self.pending:
            try:
                self._context.store.delete(self.chunk.blob)
            except UnavailableError as error:
                log.warning("intermediate left to the garbage collector: %s", error.message)

    def release(self) -> None:
        """Release the pixels that it held in memory, and end its trace."""
        if self._loaded:
            self._input.release()
        self._hold_ready(0)
        self.trace.end()

    def _load_plan(self, chunk: Chunk) -> Plan:
        if not isinstance(chunk.plan, str):
            return plan_of(chunk.plan)
        try:
            return plan_of(json.loads(self._context.store.get(chunk.plan)))
        except (ObjectNotFoundError, ValueError) as error:
            raise PlanError("plan_lost", "the job's plan is missing from the store") from error

    def _operations_on(self, image: ImageRef) -> Iterator[tuple[int, Planned]]:
        """Yield the operations with their indexes in the plan; `decode` gets the regions that came with the image."""
        for index, operation in self._operations:
            if image.regions and isinstance(operation.params, Decode):
                regions = image.regions
                if isinstance(regions, str):
                    regions = self._context.sources.read_regions(regions)
                params = operation.params.model_copy(update={"regions": regions})
                operation = replace(operation, params=params)
            yield index, operation

    @property
    def _attempts(self) -> int:
        return self._suspect.count if self._suspect else self.chunk.attempt

    def _start(self) -> None:
        """Continue the chunk's trace, and publish that it was started."""
        chunk, step = self.chunk, self.plan.steps[self.chunk.step]
        self.trace = self._context.tracing.continue_trace(
            chunk.traceparent, f"work {step}", job=chunk.job, chunk=chunk.chunk, step=step, images=len(chunk.images)
        )
        if chunk.enqueued_at:
            self.trace.record_wait(f"wait {step}", chunk.enqueued_at)
        self._publish_progress("started", chunk)

    def _begin(self) -> None:
        began = time.time()
        self._waited_secs = max(0.0, began - self.chunk.enqueued_at) if self.chunk.enqueued_at else 0.0
        self._work_secs = {}
        self._spent_secs = 0.0
        self._enter(self.chunk.step, [])

    def _enter(self, index: int, parts: list[Part]) -> None:
        """Note which operation comes next, and its input; count the attempt if the image is a suspect."""
        self._at = index
        self._step_input = parts
        update_log_context(step=self.plan.steps[index])
        if self._suspect is not None:
            self._suspect.enter(index)

    def _check_before_step(self, should_stop: Callable[[], bool]) -> None:
        """Raise JobCancelledError if the job was cancelled, ImageError if the image has used up its time."""
        limit_secs = self._context.image_timeout_secs
        if self._spent_secs > limit_secs:
            message = f"the image took longer than {limit_secs:g} s of CPU time (PENSTOCK_IMAGE_TIMEOUT_SECS)"
            raise ImageError(ImageCode.IMAGE_TIMEOUT, message)
        with suppress(UnavailableError):  # found out between two images as well
            should_stop()

    @contextmanager
    def _stage(self, watchdog: Watchdog, image: ImageRef, index: int, name: str, **attributes: int) -> Iterator[None]:
        """Limit the time of one stage of an image, trace it, and add its seconds to those of its step."""
        began, cpu_began = time.perf_counter(), time.process_time()
        elsewhere_secs = self._context.executor.time_limit_secs(name)
        # Files are read and written with time limits of the store's own, and no image is to blame if those are reached.
        limit_secs = IO_SECS if name in ("read", "write") else elsewhere_secs
        with watchdog.limit(limit_secs), self.trace.span(name, image=image.id, **attributes):
            yield
        work_secs = time.perf_counter() - began
        self._work_secs[index] = self._work_secs.get(index, 0.0) + work_secs
        self._spent_secs += work_secs if elsewhere_secs is not None else time.process_time() - cpu_began

    def _finish(self, image: ImageRef, parts: list[Part], results: list[Result] | None) -> None:
        """Note an image's outcome, or keep its parts for the next step; store those if they exceed the budget."""
        for index, secs in self._work_secs.items():
            waited = self._waited_secs if index == self.chunk.step else 0.0
            image.timings = [*image.timings, StepTime(step=index, wait=waited, work=secs)]
        self.pending.popleft()
        if results is not None:
            timings, attempts = image.timings, self._attempts
            self._outcomes.append(
                Outcome(id=image.id, state="done", results=results, timings=timings, attempts=attempts)
            )
            return
        self._ready.append((image, self._context.executor.images(parts)))
        self._hold_ready(sum(part.pixels.nbytes for _, images in self._ready for part in images) // 3)
        if self._context.pixel_budget.is_exceeded:
            queue, body = self._store_ready()
            with self.trace.span("publish"):
                self._context.broker.publish(queue, [body])

    def _hold_ready(self, pixels: int) -> None:
        self._ready_pixels = pixels
        self._context.pixel_budget.hold(self, pixels)

    def _write_results(self, watchdog: Watchdog, image: ImageRef, files: list[File]) -> list[Result]:
        results = []
        names = ResultNames(self.chunk.names)
        for part, file in enumerate(files):
            name = names.name(image.stem, part, len(files), file.extension, file.width, file.height)
            key = result_key(self.chunk.results, name)
            with self._stage(watchdog, image, self._at, "write", bytes=len(file.data)):
                digest = hashlib.sha256(file.data).hexdigest()
                self._context.store.put(key, [file.data])
            results.append(
                Result(
                    key=key,
                    name=name,
                    size=len(file.data),
                    media_type=file.media_type,
                    width=file.width,
                    height=file.height,
                    sha256=digest,
                    regions=file.regions,
                    warnings=file.warnings,
                )
            )
        return results

    def _store_ready(self) -> tuple[str, bytes]:
        """Store the pixels for the next step, under a key that depends only on the images; return message and queue."""
        chunk, step, pixels = self.chunk, self._end, self._ready_pixels
        images = [
            image.model_copy(update={"slot": slot, "parts": len(parts)})
            for slot, (image, parts) in enumerate(self._ready)
        ]
        name = chunk.chunk if len(images) == len(chunk.images) else _name_subset(chunk.chunk, images)
        blob = work_key(chunk.job, f"{chunk.run}-{name}", step)
        with self.trace.span("write", pixels=pixels):
            self._context.store.put(blob, pack_chunk({slot: parts for slot, (_, parts) in enumerate(self._ready)}))
        following = chunk.model_copy(
            update={
                "chunk": name,
                "step": step,
                "images": images,
                "blob": blob,
                "pixels": pixels,
                "alone": False,
                "attempt": 1,
                "enqueued_at": time.time(),
                "traceparent": self.trace.traceparent or chunk.traceparent,
            }
        )
        self._publish_progress("stepped", following)
        self._ready = []
        self._hold_ready(0)
        return step_queue(self.plan.steps[step]), following.model_dump_json().encode()

    def _take_outcomes(self) -> Event:
        outcomes, self._outcomes = self._outcomes, []
        return self._event("finished", self.chunk, outcomes=outcomes)

    def _publish_progress(self, kind: Literal["started", "stepped"], chunk: Chunk) -> None:
        event = self._event(kind, chunk, images=[image.id for image in chunk.images])
        self._context.events.publish_progress(event, self.chunk.chunk)

    def _event(self, kind: Literal["started", "stepped", "finished"], chunk: Chunk, **content: Any) -> Event:
        name, worker = chunk.chunk, self._context.name
        return Event(kind=kind, job=chunk.job, run=chunk.run, chunk=name, step=chunk.step, worker=worker, **content)


def _split_into_images(chunk: Chunk, images: Iterable[ImageRef], attempt: int) -> list[bytes]:
    """Return one message for each of a chunk's images, without the times of steps that will run again."""
    each: dict[str, Any] = {"alone": True, "attempt": attempt, "enqueued_at": time.time()}
    messages = []
    for image in images:
        each["images"] = [_without_times(image, chunk.step)]
        each["chunk"] = f"{_dispatched_name(chunk.chunk)}.{image.id}"
        messages.append(chunk.model_copy(update=each).model_dump_json().encode())
    return messages


def _without_times(image: ImageRef, step: int) -> ImageRef:
    """Return an image without the times of operations from index `step` on."""
    return image.model_copy(update={"timings": [timing for timing in image.timings if timing.step < step]})


def _name_subset(chunk: str, images: Sequence[ImageRef]) -> str:
    """Return a name for some of a chunk's images; the same images always get the same name."""
    ids = ",".join(str(image.id) for image in images)
    return f"{_dispatched_name(chunk)}.{images[0].id}-{hashlib.blake2b(ids.encode(), digest_size=6).hexdigest()}"


def _dispatched_name(name: str) -> str:
    """Return the name that the dispatcher gave a chunk, before it was split."""
    return name.partition(".")[0]
