"""`penstock run`: a folder of photographs through the steps on all cores of this host, with no services."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from penstock.common.broker.memory import MemoryBroker, MemoryConsumer
from penstock.common.model.errors import PlanError, UnavailableError
from penstock.common.model.messages import EVENTS_QUEUE, Chunk, Failure, ImageRef, read_events, step_queue
from penstock.common.model.plan import Plan
from penstock.common.registry import operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.local.inputs import Inputs, Source
from penstock.local.manifest import Manifest
from penstock.local.summary import Summary
from penstock.worker.process.pipe_supervisor import PipeSupervisor
from penstock.worker.process.pipe_worker import WorkerSpec
from penstock.worker.served_steps import performable_steps

WORK_FOLDER = ".penstock"
_JOB = "run"
_CHUNKS_PER_WORKER = 3
_MAX_CHUNK = 8
_CHUNK_SECS = 0.1
_POLL_SECS = 0.25


class Workers(Protocol):
    """Whoever takes chunks from the broker and works on them."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self, timeout_secs: float) -> None:
        """Let the images at hand be finished; what takes longer is ended."""

    @property
    def hopeless(self) -> bool:
        """Whether they fail to start again and again."""


class Progress(Protocol):
    """Shows the progress of a run."""

    def update(self, ended: int, total: int | None) -> None:
        """Show that `ended` images of `total` (None: not counted yet) have ended."""

    def close(self) -> None:
        """Restore the terminal."""


@dataclass(frozen=True)
class RunOptions:
    """What `penstock run` was asked for.

    `make_workers` makes them from the broker and the folder for what is on its way; None: worker processes.
    """

    plan: Plan
    out: Path
    workers: int
    force: bool
    limits: Limits
    settings: WorkerSettings
    make_workers: Callable[[MemoryBroker, Path], Workers] | None = None


def run(inputs: Inputs, options: RunOptions, progress: Progress) -> Summary:
    """Process every input that has no results yet; returns what came of it.

    Ctrl-C ends it early: images at hand are finished, and what is finished stays.

    Raises:
        PlanError: nobody here performs one of the steps.
        RequestError: the results folder belongs to other operations, to another run, or cannot be used.
        UnavailableError: results cannot be written any more, or workers cannot start.
    """
    began = time.monotonic()
    if options.make_workers is None:
        _check_performable(options)
    with ExitStack() as stack:
        manifest = Manifest(options.out, options.plan, force=options.force)
        stack.callback(manifest.close)
        work = options.out / WORK_FOLDER
        shutil.rmtree(work, ignore_errors=True)
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        stack.callback(progress.close)
        session = _Session(inputs, options, manifest, progress)
        stack.callback(session.end)
        try:
            gc.freeze()  # the libraries stay; only what the run makes is worth looking through
            session.work()
        except KeyboardInterrupt:
            session.summary.interrupted = True
    session.summary.seconds = time.monotonic() - began
    return session.summary


class _Session:
    """One run: sources on one side, workers on the other, a window of chunks between them."""

    def __init__(self, inputs: Inputs, options: RunOptions, manifest: Manifest, progress: Progress) -> None:
        self.summary = Summary()
        self._options = options
        self._plan = options.plan.document()
        self._first_queue = step_queue(options.plan.steps[0])
        self._manifest = manifest
        self._progress = progress
        self._under_way: dict[int, Source] = {}
        self._sent = 0
        self._busy_secs = 0.0
        self._total: int | None = None
        self._inputs = inputs
        self._broker = MemoryBroker()
        self._broker.declare([EVENTS_QUEUE, *(step_queue(step) for step in operations())])
        self._events: MemoryConsumer = self._broker.consume([EVENTS_QUEUE], 10_000)
        self._workers = self._make_workers()

    def work(self) -> None:
        """Send everything, and follow it to its end."""
        self._workers.start()
        threading.Thread(target=self._count, name="counter", daemon=True).start()
        sources = self._missing()
        while True:
            self._send(sources)
            if not self._under_way:
                return
            if self._workers.hopeless:
                raise UnavailableError("workers", "the workers cannot start; the reason stands above")
            self._follow(_POLL_SECS)

    def end(self) -> None:
        """Stop the workers and note what they still finished."""
        self._workers.stop(self._options.settings.drain_secs)
        while self._under_way and self._follow(0.0):
            pass

    def _make_workers(self) -> Workers:
        options = self._options
        if options.make_workers is not None:
            return options.make_workers(self._broker, options.out / WORK_FOLDER)
        return PipeSupervisor(self._broker, [self._spec(index) for index in range(options.workers)])

    def _spec(self, index: int) -> WorkerSpec:
        options = self._options
        return WorkerSpec(
            name=f"worker-{index}",
            steps=performable_steps(program=bool(options.settings.program)),
            store=options.out / WORK_FOLDER,
            results=options.out,
            input_root=Path("/"),
            limits=options.limits,
            settings=options.settings,
        )

    def _missing(self) -> Iterator[Source]:
        for source in self._inputs.sources(self._pass_over):
            if self._manifest.has(source):
                self.summary.skipped += 1
            else:
                yield source

    def _pass_over(self, _path: str) -> None:
        self.summary.passed_over += 1

    def _count(self) -> None:
        self._total = self._inputs.count()

    def _send(self, sources: Iterator[Source]) -> None:
        """Fill the window."""
        size = self._chunk_size()
        while len(self._under_way) <= (_CHUNKS_PER_WORKER * self._options.workers - 1) * size:
            batch = list(islice(sources, size))
            if not batch:
                return
            self._publish(batch)

    def _chunk_size(self) -> int:
        """Return as many images as keep a worker busy for a moment; one at a time until that is known."""
        ended = self.summary.done + self.summary.failed
        if not ended:
            return 1
        secs = self._busy_secs / ended
        return max(1, min(_MAX_CHUNK, int(_CHUNK_SECS / secs) if secs else _MAX_CHUNK))

    def _publish(self, batch: list[Source]) -> None:
        images = []
        for source in batch:
            self._under_way[self._sent] = source
            images.append(ImageRef(id=self._sent, stem=source.stem, ref=f"file://{quote(os.fsencode(source.path))}"))
            self._sent += 1
        chunk = Chunk(
            job=_JOB,
            chunk=str(images[0].id),
            plan=self._plan,
            images=images,
            results="results",
            enqueued_at=time.time(),
        )
        self._broker.publish(self._first_queue, [chunk.model_dump_json().encode()])

    def _follow(self, timeout_secs: float) -> bool:
        """Note the events that have arrived, waiting for the first one; returns whether there was any."""
        delivery = self._events.get(timeout_secs)
        arrived = delivery is not None
        while delivery is not None:
            self._note(delivery.body)
            self._events.ack(delivery)
            delivery = self._events.get(0.0)
        self._manifest.flush()
        summary = self.summary
        ended = summary.done + summary.failed
        total = None if self._total is None else max(0, self._total - summary.skipped - summary.passed_over)
        self._progress.update(ended, total)
        return arrived

    def _note(self, body: bytes) -> None:
        for outcome in (outcome for event in read_events(body) for outcome in event.outcomes):
            source = self._under_way.pop(outcome.id, None)
            if source is None:
                continue
            self._manifest.add(source, outcome)
            self._busy_secs += sum(timing.work for timing in outcome.timings)
            if outcome.error is None:
                self.summary.done += 1
            else:
                self._fail(source, outcome.error)

    def _fail(self, source: Source, failure: Failure) -> None:
        self.summary.fail(source.name, failure.model_dump(include={"code", "message", "step"}))
        if failure.resume_blob:  # the failed step's input, kept for a retry, which there is none of here
            with suppress(OSError):
                (self._options.out / WORK_FOLDER / failure.resume_blob).unlink()


def _check_performable(options: RunOptions) -> None:
    here = performable_steps(program=bool(options.settings.program))
    for index, step in enumerate(options.plan.steps):
        if step not in here:
            raise PlanError(
                "unknown_operation",
                f"{step} is declared, and PENSTOCK_PROGRAM names no program that performs it",
                f"/operations/{index}",
            )


def default_workers() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0))
