"""One chunk in a worker's hands: its images go through the operations the worker serves, one image after the other.

Whatever ends the work (all done, a time limit, a signal, a store that is away), `settle` leaves no image behind: each
has its outcome told, is handed over to the next step, or is back in this step's queue.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from penstock.common.logs import update_log_context
from penstock.common.model.errors import RETRY_MAY_HELP, ImageCode, ImageError, UnavailableError
from penstock.common.model.messages import (
    EVENTS_QUEUE,
    Chunk,
    Event,
    Failure,
    ImageRef,
    Outcome,
    Result,
    StepTime,
    step_queue,
)
from penstock.common.model.plan import Plan
from penstock.common.model.stdio_protocol import DECODE
from penstock.common.store.keys import result_key, result_name, resume_key, work_key
from penstock.common.tracing.base import UNTRACED, Trace
from penstock.worker.attempts import AttemptCount, write_starts
from penstock.worker.chunk_input import BlobLostError, ChunkInput
from penstock.worker.context import WorkerContext
from penstock.worker.executors.base import Part
from penstock.worker.executors.safetensors import Picture, pack
from penstock.worker.splitting import part_name, singles
from penstock.worker.watchdog import Watchdog

log = logging.getLogger(__name__)


class ChunkTask:
    """The state of one chunk while it is worked on.

    `todo` are images without a result yet, the current one first; `passed` are those ready for the next step;
    `outcomes` are final.
    """

    def __init__(self, bench: WorkerContext, chunk: Chunk, plan: Plan, starts: AttemptCount | None = None) -> None:
        self.chunk = chunk
        self.plan = plan
        self.todo = deque(chunk.images)
        self.passed: list[tuple[ImageRef, list[Picture]]] = []
        self.outcomes: list[Outcome] = []
        self._bench = bench
        self._starts = starts
        self._end = _end_of_service(plan, chunk.step, bench.served)
        self._reading = ChunkInput(
            chunk, bench.store, bench.sources, bench.held, bench.max_pixels_in_flight, bench.reader
        )
        self._passed_pixels = 0
        self._at = chunk.step
        self._input: list[Part] = []
        self.trace: Trace = UNTRACED

    @property
    def names(self) -> dict[str, str]:
        """What logs call it."""
        return {"job": self.chunk.job, "step": self.plan.steps[self._at], "chunk": self.chunk.chunk}

    @property
    def is_suspect(self) -> bool:
        """Whether a worker may have died over it: then it ends before anything else begins, or it would be blamed."""
        return self._starts is not None

    def read_ahead(self) -> None:
        """Begin to read what the work begins with, where that takes a while."""
        self._reading.begin()

    def release(self) -> None:
        """Count the pixels that it kept as held no more; the work has ended."""
        self._reading.release()
        self._keep_count(0)
        self.trace.end()

    def run(self, watchdog: Watchdog, ended: Callable[[], bool]) -> None:
        """Work until nothing is left to do or `ended` says so between two images.

        Raises:
            BlobLostError: the intermediates are gone.
            UnavailableError: the store is away.
        """
        while self.todo and not ended():
            image = self.todo[0]
            try:
                result = self._process(image, watchdog)
            except (BlobLostError, UnavailableError) as error:
                self.trace.record_error(error)
                raise
            except Exception as error:
                watchdog.end()
                self.trace.record_error(error)
                result = self.fail(image, _as_image_error(error))
            with watchdog.guard:
                watchdog.end()
                self._bench.hands.finish()
                self.todo.popleft()
                if isinstance(result, Outcome):
                    self.outcomes.append(result)
                else:
                    self._pass_on(image, result)

    def fail(self, image: ImageRef, error: ImageError) -> Outcome:
        """Return the outcome of an image that cannot go on, its input kept where a retry can use it."""
        failure = Failure(
            code=error.code,
            message=error.message,
            step=error.step or self.plan.steps[self._at],
            retry=error.code in RETRY_MAY_HELP,
            step_index=self._at,
        )
        if self._at and self._input and failure.retry:
            self._keep_input(image, failure)
        return Outcome(id=image.id, state="failed", error=failure, timings=image.timings, attempts=self._attempts)

    def _keep_input(self, image: ImageRef, failure: Failure) -> None:
        pictures = self._bench.hands.pictures(self._input)
        if pictures:
            failure.resume_blob = resume_key(self.chunk.job, self.chunk.run, image.id)
            failure.resume_parts = len(pictures)
            self._bench.store.put(failure.resume_blob, pack({0: pictures}))

    def fail_current(self, code: ImageCode, message: str) -> None:
        """End the image at hand with a failure."""
        self.trace.record_error(ImageError(code, message))
        self.outcomes.append(self.fail(self.todo.popleft(), ImageError(code, message)))

    def fail_without_start(self, code: ImageCode, message: str, at: int) -> None:
        """End the first image with a failure at operation `at`, without touching its pixels."""
        image = self.todo[0]
        if self.chunk.blob:
            try:
                self._input = self._reading.read_parts(image)
            except BlobLostError:
                self._input = []
        self._at = self.chunk.step if self._input else at
        failed = self.fail(image, ImageError(code, message, self.plan.steps[at]))
        self.todo.popleft()
        self.outcomes.append(failed)

    def settle(self) -> None:
        """Tell outcomes, hand over what passed, and give back what is still to do, one message an image.

        Raises:
            UnavailableError: the store or the broker is away.
        """
        for queue, body in self.wrap_up():
            with self.trace.span("publish"):
                self._bench.broker.publish(queue, [body])

    def wrap_up(self) -> list[tuple[str, bytes]]:
        """Store what passed; return all that remains to be published, with the queues, for `settle` to be done.

        Raises:
            UnavailableError: the store is away.
        """
        messages = []
        if self.passed:
            messages.append(self._store_passed())
        if self.outcomes:
            messages.append((EVENTS_QUEUE, self._bench.teller.join(self._ending(), self.chunk.chunk)))
            self.outcomes = []
        if self.todo:
            again = singles(self.chunk, list(self.todo), attempt=self.chunk.attempt)
            messages += [(step_queue(self.plan.steps[self.chunk.step]), body) for body in again]
        return messages

    def tell_outcomes(self) -> None:
        """Tell what is final; of a cancelled job too, whose coordinator then removes the results."""
        if self.outcomes:
            self._bench.teller.tell_final(self._ending(), self.chunk.chunk)
            self.outcomes = []

    def _ending(self) -> Event:
        return Event(kind="finished", outcomes=self.outcomes, **self._about())

    @property
    def unfinished(self) -> list[ImageRef]:
        """The images that have neither an outcome nor gone on to the next step."""
        return [*(image for image, _ in self.passed), *self.todo]

    def abandon(self) -> None:
        """Leave the work of a cancelled job as it is: nobody will read its intermediates."""
        self.tell_outcomes()
        if self.chunk.blob:
            self._bench.store.delete(self.chunk.blob)

    def give_back(self, images: Sequence[ImageRef], attempt: int) -> None:
        """Put images back into this step's queue, each in a message of its own."""
        self._bench.broker.publish(
            step_queue(self.plan.steps[self.chunk.step]), singles(self.chunk, images, attempt=attempt)
        )

    def restart(self) -> None:
        """Put all images into the first step's queue again, from their sources."""
        images = [image.model_copy(update={"parts": 0, "slot": 0, "timings": []}) for image in self.chunk.images]
        anew = self.chunk.model_copy(update={"step": 0, "blob": None})
        self._bench.broker.publish(step_queue(self.plan.steps[0]), singles(anew, images, attempt=anew.attempt))

    def forgive(self) -> None:
        """Take back the note of a start that nobody died over; should the store be away, it stays."""
        if self._starts is not None:
            image = self.chunk.images[0]
            starts = AttemptCount(self._starts.count - 1, self.chunk.step)
            with suppress(UnavailableError):
                write_starts(self._bench.store, self.chunk.job, self.chunk.run, image.id, starts)

    def begin(self) -> None:
        """Go on with the chunk's trace, and let the coordinator know that the chunk has left its queue."""
        chunk = self.chunk
        step = self.plan.steps[chunk.step]
        self.trace = self._bench.tracing.continue_trace(
            chunk.traceparent, f"work {step}", job=chunk.job, chunk=chunk.chunk, step=step, images=len(chunk.images)
        )
        if chunk.enqueued_at:
            self.trace.record_wait(f"wait {step}", chunk.enqueued_at)
        event = Event(kind="started", images=[image.id for image in self.chunk.images], **self._about())
        self._bench.teller.tell_on_way(event, self.chunk.chunk)

    def clear_up(self) -> None:
        """Once the next step has taken over: forgive the start, and remove the chunk's own intermediates.

        Should the connection be gone, the chunk comes again though nobody has died over it, as often as that happens.
        """
        self.forgive()
        if self.chunk.blob and not self.chunk.alone and not self.todo:
            self._bench.store.delete(self.chunk.blob)

    def _process(self, image: ImageRef, watchdog: Watchdog) -> list[Picture] | Outcome:
        """Run the served operations on one image; its outcome where `encode` was among them."""
        began = time.time()
        waited = max(0.0, began - self.chunk.enqueued_at) if self.chunk.enqueued_at else 0.0
        timings = list(image.timings)
        self._input = []
        parts: list[Part] = []
        for index in range(self.chunk.step, self._end):
            self._enter(image, index)
            self._watch(watchdog, DECODE if index == self.chunk.step else self.plan.steps[index])
            start = time.perf_counter()
            if index == self.chunk.step:
                with self.trace.span("read", image=image.id):
                    parts = self._reading.read_parts(image) if self.chunk.blob else self._decode(image)
                self._watch(watchdog, self.plan.steps[index])
            self._input = parts
            with self.trace.span(self.plan.steps[index], image=image.id):
                if index == len(self.plan.operations) - 1:
                    results = self._encode(image, parts)
                else:
                    parts = self._bench.hands.perform(self.plan.operations[index], parts)
            timings.append(StepTime(step=index, wait=waited, work=time.perf_counter() - start))
            waited = 0.0
        image.timings = timings
        if self._end < len(self.plan.operations):
            return parts
        return Outcome(id=image.id, state="done", results=results, timings=timings, attempts=self._attempts)

    def _enter(self, image: ImageRef, index: int) -> None:
        self._at = index
        update_log_context(step=self.plan.steps[index])
        if self._starts is not None:
            write_starts(
                self._bench.store, self.chunk.job, self.chunk.run, image.id, AttemptCount(self._starts.count, index)
            )

    @property
    def _attempts(self) -> int:
        return self._starts.count if self._starts else self.chunk.attempt

    def _watch(self, watchdog: Watchdog, step: str) -> None:
        """Start the clock, which rings for none but what nobody else ends."""
        patience_secs = self._bench.hands.patience_secs(step)
        if patience_secs is None:
            watchdog.begin()
        else:
            watchdog.trust(patience_secs)

    def _decode(self, image: ImageRef) -> list[Part]:
        return self._bench.hands.decode(self._reading.read_source(image))

    def _encode(self, image: ImageRef, parts: Sequence[Part]) -> list[Result]:
        params = self.plan.encode
        results = []
        for index, file in enumerate(self._bench.hands.encode(parts, params)):
            name = result_name(image.stem, index, params.format)
            key = result_key(self.chunk.results, name)
            with self.trace.span("write", bytes=len(file.data)):
                self._bench.store.put(key, [file.data])
            results.append(
                Result(
                    key=key,
                    name=name,
                    size=len(file.data),
                    media_type=params.media_type,
                    width=file.width,
                    height=file.height,
                    sha256=hashlib.sha256(file.data).hexdigest(),
                )
            )
        return results

    def _pass_on(self, image: ImageRef, parts: list[Picture]) -> None:
        """Keep an image for the next step; hand over what is kept once it grows too large to hold."""
        self.passed.append((image, parts))
        self._keep_count(self._passed_pixels + sum(part.shape[0] * part.shape[1] for part in parts))
        if self._bench.held.pixels > self._bench.max_pixels_in_flight:
            self._hand_over()

    def _keep_count(self, passed_pixels: int) -> None:
        self._bench.held.add(passed_pixels - self._passed_pixels)
        self._passed_pixels = passed_pixels

    def _hand_over(self) -> None:
        """Send what passed to the next step before the rest is done."""
        queue, body = self._store_passed()
        with self.trace.span("publish"):
            self._bench.broker.publish(queue, [body])

    def _store_passed(self) -> tuple[str, bytes]:
        """Store the pixels that passed under a key that follows from who they are; return the message and its queue."""
        images = [
            image.model_copy(update={"slot": slot, "parts": len(parts)})
            for slot, (image, parts) in enumerate(self.passed)
        ]
        whole = len(images) == len(self.chunk.images)
        name = self.chunk.chunk if whole else part_name(self.chunk.chunk, images)
        blob = work_key(self.chunk.job, f"{self.chunk.run}-{name}", self._end)
        with self.trace.span("write", pixels=self._passed_pixels):
            self._bench.store.put(blob, pack({slot: parts for slot, (_, parts) in enumerate(self.passed)}))
        passed = self.chunk.model_copy(
            update={
                "chunk": name,
                "step": self._end,
                "images": images,
                "blob": blob,
                "pixels": self._passed_pixels,
                "alone": False,
                "attempt": 1,
                "enqueued_at": time.time(),
                "traceparent": self.trace.traceparent or self.chunk.traceparent,
            }
        )
        event = Event(kind="stepped", images=[image.id for image in images], **self._about(self._end, name))
        self._bench.teller.tell_on_way(event, self.chunk.chunk)
        self.passed = []
        self._keep_count(0)
        return step_queue(self.plan.steps[self._end]), passed.model_dump_json().encode()

    def _about(self, step: int | None = None, name: str | None = None) -> dict[str, Any]:
        chunk = self.chunk
        return {
            "job": chunk.job,
            "run": chunk.run,
            "chunk": name or chunk.chunk,
            "step": chunk.step if step is None else step,
            "worker": self._bench.name,
        }


def _end_of_service(plan: Plan, step: int, served: frozenset[str]) -> int:
    end = step + 1
    while end < len(plan.steps) and plan.steps[end] in served:
        end += 1
    return end


def _as_image_error(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    if isinstance(error, MemoryError):
        return ImageError(ImageCode.INTERNAL, "out of memory")
    log.error("an image failed as none should", exc_info=error)
    return ImageError(ImageCode.INTERNAL, f"failed unexpectedly: {type(error).__name__}")
