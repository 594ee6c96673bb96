"""ChunkTask: one delivered chunk; runs the served steps on its images, one image after the other.

However the run ends (all done, a time limit, a signal, an unreachable store), no image is left behind: each has its
outcome published, is handed on to the next step, or is requeued for this one.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, takewhile
from typing import Any, Literal

from penstock.common.broker.base import Delivery
from penstock.common.logs import update_log_context
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
from penstock.common.model.operations import DECODE, Decode, Encode
from penstock.common.model.plan import Plan, Planned
from penstock.common.model.result_names import ResultNames
from penstock.common.store.keys import result_key, resume_key
from penstock.common.tracing.base import UNTRACED, Trace
from penstock.worker import intermediates
from penstock.worker.attempts import Attempts
from penstock.worker.cancelled_jobs import JobCancelledError
from penstock.worker.chunk_input import BlobLostError, ChunkInput
from penstock.worker.context import WorkerContext
from penstock.worker.executors.base import File, Part, as_image_error
from penstock.worker.executors.group_results import own_files
from penstock.worker.executors.safetensors import pack_chunk
from penstock.worker.group_input import GroupStoppedError, open_group
from penstock.worker.watchdog import Watchdog, Work

log = logging.getLogger(__name__)

_SLOW_SECS = 2.0
IO_SECS = 180.0
"""Upper bound for all store and broker calls around one image."""


@dataclass
class _Leg:
    """Operations with their indexes in the plan, on parts or an image's input; what they made unless they failed."""

    image: ImageRef
    operations: Iterable[tuple[int, Planned]]
    parts: list[Part] | None = None
    made: list[Part] | None = None
    is_written: bool = False
    """Whether what was made are results already, as files of a group step are."""


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
        self._ready: list[intermediates.Ready] = []
        """Images that go on in other workers."""
        self._current: list[ImageRef] = []
        """The images that the work is for: all outputs of a source until its shared operations are done, then one."""
        self._suspect: Attempts | None = None
        self._at = 0
        self._operation = ""
        self._step_input: list[Part] = []
        self._written: list[Result] = []
        """The current image's results so far."""
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
        self.plan = plan = self._context.load_plan(chunk)
        if not 0 <= chunk.step < len(plan.steps) or not chunk.images:
            raise MessageError("unreadable_message", f"step {chunk.step} of {len(plan.steps)}")
        self._layout = layout = plan.layout
        if {*plan.last_steps} != {"encode"}:
            raise MessageError("unreadable_message", f"a plan that ends with {plan.last_steps}; accepted is encode")
        self._is_group = layout.is_group(chunk.images[0].id)
        branch = layout.branch_at(chunk.step) if chunk.blob is not None or self._is_group else None
        if branch and any(layout.branch(image.id) != branch for image in chunk.images):
            raise MessageError("unreadable_message", f"step {chunk.step} of an image that is not output {branch.name}")
        context = self._context
        self._current = [chunk.images[0]]
        self._shared_end = chunk.step if branch else self._served_until(chunk.step, layout.fork)
        self._input = ChunkInput(
            chunk, context.store, context.sources, context.pixel_budget, context.prefetcher, context.memory
        )
        self._shared = list(enumerate(plan.operations))[chunk.step : self._shared_end]
        if chunk.blob is None and not self._is_group:
            self._shared = [(chunk.step, plan.decoding), *self._shared]
        self._loaded = True

    def _served_until(self, start: int, end: int) -> int:
        """Return the index of the first operation from `start` on that other workers do; `end` if none does."""
        return start + sum(1 for _ in takewhile(self._context.served.__contains__, self.plan.steps[start:end]))

    def prefetch(self) -> None:
        """Load the chunk and start to read its input ahead; errors are left to `load`."""
        with suppress(MessageError, PlanError, UnavailableError):
            self.load()
            if not self.is_redelivered and not self._is_group:
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
        return [*(image for ready in self._ready for image in ready.images), *self.pending]

    def count_attempt(self, max_attempts: int) -> bool:
        """Return whether the image of a redelivered chunk may be started again; fail it otherwise.

        It fails without its pixels being read: they may be what the worker has no memory for. So a retry starts from
        the image's file.
        """
        chunk = self.chunk
        attempts = self._suspect = Attempts(self._context.store, chunk, self.delivery.body)
        if attempts.count < max_attempts:
            attempts.count += 1
            return True
        attempts.give_up()
        self._at = attempts.step
        crashed_in = self._reported(attempts.operation or self.plan.steps[attempts.step])
        message = f"the worker died {attempts.count} times while it processed this image, last in {crashed_in}"
        self.fail_current(ImageError(ImageCode.STEP_CRASHED, message, crashed_in))
        return False

    def run(self, watchdog: Watchdog, should_stop: Callable[[], bool]) -> None:
        """Run the served steps on every pending image, until `should_stop` returns true between two images.

        In the middle of a group, `should_stop` is asked between two of its images.

        Raises:
            JobCancelledError: `should_stop` raised it between two images or two steps.
            BlobLostError: the intermediates are gone.
            UnavailableError: a step's program cannot be started.
        """
        self._watchdog, self._should_stop = watchdog, should_stop
        self._start()
        self._published_at = time.monotonic()
        executor = self._context.executor
        for leg in self._legs():
            parts = leg.parts
            try:
                if parts is None:
                    with self._limited(self.chunk.step, "read"), self.trace.span("read", image=leg.image.id):
                        parts = self._input.read(leg.image)
                for index, operation in leg.operations:
                    self._check_before_step()
                    self._enter(index, [] if operation.step == DECODE else parts, operation.step)
                    if isinstance(operation.params, Encode):
                        files = executor.encode(operation, parts)
                        self._write_results(leg.image, files, len(parts))
                        parts = []
                    elif self._is_group:
                        parts = self._run_group_step(leg, index, operation)
                    else:
                        name = operation.step
                        with self._limited(index, name), self.trace.span(name, image=leg.image.id):
                            parts = executor.perform(operation, parts)
            except GroupStoppedError:
                return  # the group is requeued
            except (BlobLostError, UnavailableError, JobCancelledError) as error:
                self.trace.record_error(error)
                raise
            except Exception as error:
                self.fail_current(as_image_error(error))
            else:
                leg.made = parts

    def _run_group_step(self, leg: _Leg, index: int, operation: Planned) -> list[Part]:
        """Run a group step, and write the files that it made as results; return what is left to encode."""
        group = open_group(self._context, leg.image.ref, operation.step, self._watchdog, self._should_stop)
        with self._limited(index, operation.step), self.trace.span(operation.step, image=leg.image.id):
            parts = self._context.executor.perform_on_group(operation, group)
        self._spent_secs = 0.0  # the limit on it is one image's
        files = own_files(parts)
        if not files:
            return parts
        self._write_results(leg.image, iter(files), len(files))
        leg.is_written = True
        return []

    def _legs(self) -> Iterator[_Leg]:
        """Yield what is done to the pending images, until `should_stop` returns true between two sources.

        The caller sets `made` of each leg before it takes the next one; if it does not, the leg's images have failed.
        """
        while not self._should_stop() and self.pending:
            yield from self._legs_of_source()
            self._context.executor.reset()
            self._store_if_full()
            self._publish_if_slow()

    def _legs_of_source(self) -> Iterator[_Leg]:
        """Yield what is done to all pending images of one source: the shared operations, then each output's own."""
        first, source = self.pending[0], self._layout.source
        self._current = images = [*takewhile(lambda image: source(image.id) == source(first.id), self.pending)]
        self._begin()
        if self._is_group and self.chunk.blob is None:
            yield from self._group_leg(first)
            return
        yield (shared := _Leg(first, self._operations_on(first)))
        if shared.made is None:
            return
        if self._layout.branch(first.id) is None or self._shared_end < self._layout.fork:
            self._finish(shared.made, self._shared_end)
            return
        shared_secs, spent_secs = self._work_secs, self._spent_secs
        for image in images:
            if image is not first and self._should_stop():
                return  # the others are requeued
            self._current, self._spent_secs, self._written = [image], spent_secs, []
            self._work_secs = {self._index(index, image): secs / len(images) for index, secs in shared_secs.items()}
            end, operations = self._own_operations(image)
            yield (own := _Leg(image, operations, shared.made))
            if own.made is not None:
                self._finish(own.made, end)
            self._publish_if_slow()

    def _group_leg(self, group: ImageRef) -> Iterator[_Leg]:
        """Yield the group step, and `encode` if it is served here."""
        end, operations = self._own_operations(group)
        yield (leg := _Leg(group, operations, []))
        if leg.made is not None:
            assert self._layout.gather is not None
            self._finish(leg.made, self._layout.gather.end if leg.is_written else end)

    def _own_operations(self, image: ImageRef) -> tuple[int, list[tuple[int, Planned]]]:
        """Return the served operations of the output that an image is, and the index of what follows them.

        If there are none, that is the index of where it is now, which for all outputs of a source is the same.
        """
        branch = self._layout.branch(image.id)
        assert branch is not None
        start = max(self._shared_end, branch.start)
        end = self._served_until(start, branch.end)
        return (end, list(enumerate(self.plan.operations))[start:end]) if end > start else (self._shared_end, [])

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
        """Fail the current images; their step's input is kept if a retry can use it."""
        images = self._current
        self.trace.record_error(error)
        failure = Failure(
            code=error.code,
            message=error.message,
            step=self._reported(error.step or self._operation),
            retry=error.code in RETRY_MAY_HELP,
            step_index=self._at,
        )
        kept = self._context.executor.images(self._step_input) if self._at and failure.retry else []
        if kept:
            failure.resume_blob = resume_key(self.chunk.job, self.chunk.run, images[0].id, self._at)
            failure.resume_parts = len(kept)
            self._context.store.put(failure.resume_blob, pack_chunk({0: kept}))
        for image in images:
            self.pending.popleft()
            failed = failure.model_copy(update={"step_index": self._index(failure.step_index, image)})
            self._add_outcome(image, "failed", failed)

    def _index(self, index: int, image: ImageRef) -> int:
        """Return an operation's index for an image: without shared operations, its own first one reads the source."""
        return max(index, self._layout.first(image.id))

    def _reported(self, operation: str) -> str:
        """Return what to call an operation in an error."""
        return self.plan.reading_step if operation == DECODE else operation

    def fail_all(self, code: ImageCode, message: str, step: str) -> None:
        """Publish that every unfinished image has failed, without starting it."""
        chunk = self.chunk
        failure = Failure(code=code, message=message, step=step, retry=True, step_index=chunk.step)
        outcomes = [
            Outcome(id=image.id, state="failed", error=failure, attempts=chunk.attempt) for image in self.unfinished
        ]
        if self._written:
            outcomes[len(outcomes) - len(self.pending)].results = self._take_written()
        event = Event(kind="finished", job=chunk.job, run=chunk.run, chunk=chunk.chunk, outcomes=outcomes)
        self._context.events.publish_outcomes(event, chunk.chunk)

    def take_messages(self) -> list[tuple[str, bytes]]:
        """Store what is ready for the next step; return all messages that complete the chunk, with their queues."""
        messages = self._store_ready()
        if self._outcomes:
            messages.append((EVENTS_QUEUE, self._context.events.make_message(self._take_outcomes(), self.chunk.chunk)))
        if self.pending and self.is_redelivered and not self.is_suspect:
            again = intermediates.split_into_images(self.chunk, self.pending, self.chunk.attempt)
            messages += [(self.delivery.queue, body) for body in again]
        elif self.pending:
            rest = intermediates.select(self.chunk, self.pending, alone=self.is_suspect)
            messages.append((self.delivery.queue, rest.model_dump_json().encode()))
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
        """Drop the rest of a cancelled job's chunk, its intermediates, and the results of an image that has not all."""
        if self._written:
            self._add_outcome(self.pending.popleft(), "failed")
        self.publish_outcomes()
        if self.chunk.blob:
            self._context.store.delete(self.chunk.blob)

    def give_back(self, waiting_for: str) -> None:
        """Publish the outcomes so far, and the unfinished images to the queue that the chunk came from, as one chunk.

        No attempt is counted. The coordinator is told before another worker can have started the images.
        """
        self.publish_outcomes()
        self.forgive_attempt()
        if not self.unfinished:
            return
        again = intermediates.select(self.chunk, self.unfinished, alone=self.is_suspect)
        event = self._event("stepped", again, images=[image.id for image in again.images], waiting_for=waiting_for)
        self._context.events.publish_now(event, self.chunk.chunk)
        self._context.broker.publish(self.delivery.queue, [again.model_dump_json().encode()])

    def requeue(self, attempt: int) -> None:
        """Publish every unfinished image to the queue that the chunk came from, in a message of its own."""
        self._context.broker.publish(
            self.delivery.queue, intermediates.split_into_images(self.chunk, self.unfinished, attempt)
        )

    def restart(self) -> None:
        """Publish every unfinished image to start from its source again; drop those that were restarted before.

        The job of those has ended, and what they write is garbage. If it has not, the coordinator requeues them.
        """
        self.publish_outcomes()
        if not self.chunk.restarted:
            first = self._layout.first(self.chunk.images[0].id) if self._is_group else 0
            again = intermediates.from_sources(self.chunk, self.unfinished, first)
            self._context.broker.publish(step_queue(self.plan.steps[first]), again)

    def forgive_attempt(self) -> None:
        """Uncount a start that no worker died in, if the store is reachable."""
        if self._suspect is not None:
            self._suspect.forgive()

    def clean_up(self) -> None:
        """Forgive the attempt and remove the chunk's intermediates, once all messages are confirmed.

        The attempt is forgiven before the acknowledgement: if that is lost, the chunk is delivered again although no
        worker has died.
        """
        self.forgive_attempt()
        if self.chunk.blob and not self.chunk.alone and not self.pending:
            try:
                intermediates.delete_read(self._context.store, self.chunk)
            except UnavailableError as error:
                log.warning("intermediate left to the garbage collector: %s", error.message)

    def release(self) -> None:
        """Release the pixels that it held in memory, and end its trace."""
        if self._loaded:
            self._input.release()
        self._hold_ready(0)
        self.trace.end()

    def _operations_on(self, image: ImageRef) -> Iterator[tuple[int, Planned]]:
        """Yield the operations with their indexes in the plan; `decode` gets the regions that came with the image."""
        for index, operation in self._shared:
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
        self._written = []
        self._cpu_secs: dict[tuple[int, str], float] = {}
        began = time.time()
        self._waited_secs = max(0.0, began - self.chunk.enqueued_at) if self.chunk.enqueued_at else 0.0
        self._work_secs = {}
        self._spent_secs = 0.0
        first = self._shared[0][1].step if self._shared else self.plan.steps[self.chunk.step]
        self._enter(self.chunk.step, [], first)

    def _enter(self, index: int, parts: list[Part], operation: str) -> None:
        """Note which operation comes next, and its input; count the attempt if the image is a suspect."""
        self._at = index
        self._operation = operation
        self._step_input = parts
        update_log_context(step=self.plan.steps[index])
        if self._suspect is not None:
            self._suspect.enter(index, operation)

    def _check_before_step(self) -> None:
        """Raise JobCancelledError if the job was cancelled, ImageError if the image has used up its time."""
        limit_secs = self._context.image_timeout_secs
        if self._spent_secs > limit_secs:
            message = f"the image took longer than {limit_secs:g} s of CPU time (PENSTOCK_IMAGE_TIMEOUT_SECS)"
            raise ImageError(ImageCode.IMAGE_TIMEOUT, message)
        with suppress(UnavailableError):  # found out between two images as well
            self._should_stop()

    def _limited(self, index: int, name: str) -> Work:
        """Limit the time of one stage of an image, and add its seconds to those of its step."""
        elsewhere_secs = self._context.executor.time_limit_secs(name)
        # Files are read and written with time limits of the store's own, and no image is to blame if those are reached.
        limit_secs = IO_SECS if name in ("read", "write") else elsewhere_secs
        add = partial(self._add_secs, index, name, elsewhere_secs is not None)
        return self._watchdog.limit(limit_secs, self._cpu_secs.get((index, name), 0.0), add)

    def _add_secs(self, index: int, name: str, is_elsewhere: bool, secs: float, cpu_secs: float) -> None:
        self._work_secs[index] = self._work_secs.get(index, 0.0) + secs
        self._cpu_secs[index, name] = self._cpu_secs.get((index, name), 0.0) + cpu_secs
        self._spent_secs += secs if is_elsewhere else cpu_secs

    def _finish(self, parts: list[Part], end: int) -> None:
        """Note the outcome of the current images, or keep their parts for the operation at index `end`."""
        images = self._current
        for image in images:
            self.pending.popleft()
            for index, secs in self._work_secs.items():
                waited = self._waited_secs if index == self._index(self.chunk.step, image) else 0.0
                image.timings.append(StepTime(step=index, wait=waited, work=secs / len(images)))
        branch = self._layout.branch(images[0].id)
        if end == (branch.end if branch else self._layout.size):
            self._add_outcome(images[0], "done")
        elif ready := next((each for each in self._ready if each.step == end and each.made_of is parts), None):
            ready.images += images
        else:
            self._ready.append(intermediates.Ready(end, [*images], self._context.executor.images(parts), parts))
            self._hold_ready(sum(each.pixels for each in self._ready))

    def _store_if_full(self) -> None:
        """Store and publish what is ready for other workers, if that exceeds the pixel budget."""
        if self._ready and self._context.pixel_budget.is_exceeded:
            messages = self._store_ready()
            with self.trace.span("publish"):
                for queue, body in messages:
                    self._context.broker.publish(queue, [body])

    def _hold_ready(self, pixels: int) -> None:
        self._context.pixel_budget.hold(self, pixels)

    def _add_outcome(self, image: ImageRef, state: Literal["done", "failed"], failure: Failure | None = None) -> None:
        results, timings, attempts = self._take_written(), image.timings, self._attempts
        self._outcomes.append(
            Outcome(id=image.id, state=state, results=results, error=failure, timings=timings, attempts=attempts)
        )

    def _take_written(self) -> list[Result]:
        """Return the current image's results so far, for its outcome: they are to be listed, or to be removed."""
        written, self._written = self._written, []
        return written

    def _write_results(self, image: ImageRef, files: Iterator[File], count: int) -> None:
        """Encode and store one result after the other, so that never two of them are in memory."""
        names = ResultNames(self.chunk.names)
        for part in range(count):
            if part:
                self._check_before_step()
            with self._limited(self._at, self._operation), self.trace.span(self._operation, image=image.id):
                file = next(files)
            if file.name:
                name = names.own_name(image.stem, file.name)
            else:
                name = names.name(image.stem, part, count, file.extension, file.width, file.height)
            span = self.trace.span("write", image=image.id, bytes=len(file.data))
            with self._limited(self._at, "write"), span:
                result = file.as_result(result_key(self.chunk.results, name), name)
                self._written.append(result)  # even if writing fails: it may have taken effect
                self._context.store.put(result.key, [file.data], volatile=self.chunk.volatile)
            del file

    def _store_ready(self) -> list[tuple[str, bytes]]:
        """Store the pixels for other workers; return the messages about them, with their queues."""
        by_step = sorted(self._ready, key=lambda each: each.step)
        messages: list[tuple[str, bytes]] = []
        for step, group in groupby(by_step, key=lambda each: each.step):
            ready = [*group]
            with self.trace.span("write", pixels=sum(each.pixels for each in ready)):
                blob = intermediates.store(self._context.store, self.chunk, step, ready)
            for following in intermediates.following_chunks(
                self.chunk, ready, blob, self._layout, self.trace.traceparent or self.chunk.traceparent
            ):
                self._publish_progress("stepped", following)
                messages.append((step_queue(self.plan.steps[following.step]), following.model_dump_json().encode()))
        self._ready = []
        self._hold_ready(0)
        return messages

    def _take_outcomes(self) -> Event:
        outcomes, self._outcomes = self._outcomes, []
        return self._event("finished", self.chunk, outcomes=outcomes)

    def _publish_progress(self, kind: Literal["started", "stepped"], chunk: Chunk) -> None:
        event = self._event(kind, chunk, images=[image.id for image in chunk.images])
        self._context.events.publish_progress(event, chunk.chunk)

    def _event(self, kind: Literal["started", "stepped", "finished"], chunk: Chunk, **content: Any) -> Event:
        name, worker = chunk.chunk, self._context.name
        return Event(kind=kind, job=chunk.job, run=chunk.run, chunk=name, step=chunk.step, worker=worker, **content)
