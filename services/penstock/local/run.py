"""`penstock run`: processes images on all cores of this host, without any service."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from penstock.common.broker.memory import MemoryBroker
from penstock.common.input_root import WHOLE_HOST
from penstock.common.model.errors import ImageCode, PlanError, RequestError, UnavailableError
from penstock.common.model.messages import (
    EVENTS_QUEUE,
    Chunk,
    Failure,
    ImageRef,
    Outcome,
    Result,
    fit_chunk,
    read_events,
    step_queue,
)
from penstock.common.model.plan import GROUP_IDS, Plan
from penstock.common.model.result_names import ResultNames
from penstock.common.registry import operations
from penstock.common.settings import Limits, WorkerSettings
from penstock.local.groups import Group, find_groups
from penstock.local.inputs import InputFile, Inputs, file_url
from penstock.local.manifest import Manifest, source_digest, usual_names
from penstock.local.results_folder import NameTakenError, NoSpaceError, ResultsFolder
from penstock.worker.process.pipe_worker import PipeWorkerSpec
from penstock.worker.process.served_steps import available_steps
from penstock.worker.process.supervisor import Supervisor

_JOB = "run"
_CHUNKS_PER_WORKER = 3
_POLL_SECS = 0.25
_SHOWN_FAILURES = 20
_SHOWN_IGNORED = 10
_KEPT_FAILURES = 1_000


class Workers(Protocol):
    """The workers of a run, which take chunks from the broker."""

    def start(self) -> None:
        """Start them; returns at once."""

    def stop(self, timeout_secs: float) -> None:
        """Let them finish the current images; kill those that take longer."""

    @property
    def is_failing(self) -> bool:
        """Whether they repeatedly fail to start."""


class Progress(Protocol):
    """Shows the progress of a run."""

    def update(self, ended: int, total: int | None) -> None:
        """Show that `ended` images of `total` (None: not counted yet) have ended."""

    def close(self) -> None:
        """Restore the terminal."""


@dataclass
class Summary:
    """Outcome of a run. `failures` holds the first thousand: `{image, code, message, step}`."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Done by an earlier run already."""
    passed_over: int = 0
    """Files in folders that are not images, and links that are not followed. The name is part of the JSON output."""
    seconds: float = 0.0
    interrupted: bool = False
    stopped: str | None = None
    """Why the run stopped before its end, such as a full disk."""
    not_done: int = 0
    """Images left for the next run because it stopped."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, int] = field(default_factory=dict)
    """Done images by what their results lack of them, such as `depth_reduced`."""
    ignored: list[dict[str, str]] = field(default_factory=list)
    """The first thousand ignored files: `{file, reason}`; the reason completes "… is …"."""

    def ignore(self, file: str, reason: str) -> None:
        """Count an ignored file or link."""
        self.passed_over += 1
        if len(self.ignored) < _KEPT_FAILURES:
            self.ignored.append({"file": file, "reason": reason})

    def finish(self, results: Iterable[Result]) -> None:
        """Count an image that is done."""
        self.done += 1
        for code in sorted({code for result in results for code in result.warnings}):
            self.warnings[code] = self.warnings.get(code, 0) + 1

    def fail(self, image: str, error: dict[str, Any]) -> None:
        """Count a failure."""
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append({"image": image, **error})

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 3 the disk is full, 130 interrupted."""
        if self.stopped:
            return NoSpaceError.exit_code
        return 130 if self.interrupted else int(self.failed > 0)

    @property
    def stop_line(self) -> str | None:
        """What stopped the run, and what that left undone; None if nothing did."""
        if self.stopped is None:
            return None
        failed = f"{self.failed} failed, " if self.failed else ""
        before = f", {self.skipped} done before" if self.skipped else ""
        counts = f"{self.done} done, {failed}{self.not_done} not done{before}"
        return f"{self.stopped}: {counts}; run again when there is room"

    def lines(self, out: str) -> list[str]:
        """Return the summary for people."""
        ended = self.done + self.failed
        rate = ended / self.seconds if self.seconds else 0.0
        parts = [f"{self.done} done", f"{self.failed} failed"]
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        if self.passed_over:
            parts.append(f"{self.passed_over} ignored")
        verb = "interrupted: " if self.interrupted else ""
        lines = [f"{verb}{', '.join(parts)} in {self.seconds:.1f} s ({rate:.1f} images/s); results in {out}"]
        lines += [f"  {item['image']}: {item['code']}: {item['message']}" for item in self.failures[:_SHOWN_FAILURES]]
        if self.failed > _SHOWN_FAILURES:
            lines.append(f"  … and {self.failed - _SHOWN_FAILURES} more, all in the manifest")
        if self.warnings:
            counts = ", ".join(f"{code} ({count})" for code, count in sorted(self.warnings.items()))
            lines.append(f"  warnings: {counts}; the manifest has them by result")
        lines += [f"  ignored: {item['file']} is {item['reason']}" for item in self.ignored[:_SHOWN_IGNORED]]
        if self.passed_over > _SHOWN_IGNORED:
            lines.append(f"  … and {self.passed_over - _SHOWN_IGNORED} more ignored, all in the manifest")
        return [line.encode("utf-8", "replace").decode() for line in lines]


@dataclass(frozen=True)
class RunOptions:
    """Options of `penstock run`.

    `names` is the template of the results' names; None: the usual one. `verify`: compare earlier results with their
    checksums. `make_workers` makes the workers from the broker
    and the folder for intermediates; None: worker processes.
    """

    plan: Plan
    out: Path
    workers: int
    force: bool
    limits: Limits
    settings: WorkerSettings
    names: str | None = None
    verify: bool = False
    make_workers: Callable[[MemoryBroker, Path], Workers] | None = None


def run(inputs: Inputs, options: RunOptions, progress: Progress) -> Summary:
    """Process every image that has no results yet.

    Ctrl-C ends it early: workers finish their current images, and all results stay. So does a full disk.

    Raises:
        PlanError: no worker can run one of the steps.
        RequestError: there are no images, the results folder belongs to other operations, or results would overwrite
            files that are not results.
        StartupError: another run is using the results folder, or it cannot be used.
        UnavailableError: results cannot be written, or workers cannot start.
    """
    began = time.monotonic()
    if options.make_workers is None:
        _check_performable(options)
    plan = options.plan
    names = plan.result_names(options.names) if options.names else usual_names(options.out, plan)
    inputs.check_any()
    summary = Summary()
    try:
        with ResultsFolder(options.out) as folder:
            manifest = Manifest(folder, plan, names.template, force=options.force, verify=options.verify)
            with closing(manifest), closing(progress):
                if inputs.are_among_results:
                    inputs.leave_out(manifest.listed)
                    inputs.check_any()
                    folders = [f"{branch.name}/" for branch in plan.branches] or [""]
                    for output, prefix in zip(plan.outputs, folders, strict=True):
                        inputs.check_apart(names, output.encode.format, prefix)
                _check_names_free(inputs, plan, names, folder, manifest)
                _Run(inputs, options, names, folder, manifest, progress, summary).run()
    except NoSpaceError as error:
        summary.stopped = error.message
        summary.not_done = sum(plan.layout.count for _ in inputs.files(lambda _name, _reason: None))
    summary.seconds = time.monotonic() - began
    return summary


def _check_names_free(
    inputs: Inputs, plan: Plan, names: ResultNames, folder: ResultsFolder, manifest: Manifest
) -> None:
    """Refuse results that would overwrite files of others, as far as names are known before images are read.

    Raises:
        RequestError: a file that no run made has the name of a result.
    """
    if folder.is_empty or names.has_sizes:
        return
    for file, output in (
        each
        for source in inputs.files(lambda _name, _reason: None, names)
        for each in zip(_each_output(source, plan), plan.outputs, strict=True)
    ):
        parts, form = output.parts or 1, output.encode.format
        if form == "keep" or manifest.is_done(file):
            continue
        for part in range(parts):
            name = names.name(file.stem, part, parts, form)
            if folder.status(name) is not None and not manifest.lists(name):
                message = f"a result of {file.name} would overwrite {folder.path / name}, which is none of a run"
                raise RequestError(409, "result_exists", f"{message}; move it, or choose another --out or --names")


def _each_output(file: InputFile, plan: Plan) -> list[InputFile]:
    """Return every output of a file, or the file as it is if the plan has one."""
    return [file.as_output(branch.name) for branch in plan.branches] or [file]


class _Run:
    """One run: publishes chunks of images within a window, and applies the workers' events."""

    def __init__(
        self,
        inputs: Inputs,
        options: RunOptions,
        names: ResultNames,
        folder: ResultsFolder,
        manifest: Manifest,
        progress: Progress,
        summary: Summary,
    ) -> None:
        self._inputs = inputs
        self._options = options
        self._names = names
        self._folder = folder
        self._manifest = manifest
        self._progress = progress
        self._summary = summary
        self._plan = options.plan.document()
        self._layout = options.plan.layout
        self._first_queue = step_queue(options.plan.steps[0])
        self._pending = self._find_pending()
        self._pending_groups: Iterator[Group] = iter(())
        self._in_flight: dict[int, InputFile] = {}
        self._done: list[Sequence[Result]] = []
        """The results of images whose lines the manifest has yet to write."""
        self._published = 0
        self._busy_secs = 0.0
        self._is_interrupted = False
        self._waiting_for: str | None = None
        """What workers wait for, such as room on a full disk: they give their images back, and the run ends."""
        self._total: int | None = None
        self._broker = MemoryBroker()
        self._broker.declare([EVENTS_QUEUE, *(step_queue(step) for step in operations())])
        self._events = self._broker.consume([EVENTS_QUEUE], 10_000)
        self._workers = self._make_workers()

    def run(self) -> None:
        """Process all images, until there is no more or no space for results."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)
        try:
            self._manifest.begin()
            gc.freeze()  # keeps the garbage collector from scanning the imported libraries
            self._process()
        except KeyboardInterrupt:
            self._summary.interrupted = True
        except NoSpaceError as error:
            self._summary.stopped = error.message
        finally:
            self._stop()
            if signal.getsignal(signal.SIGINT) == self._interrupt:
                signal.signal(signal.SIGINT, before)
        if self._summary.stopped:
            self._summary.not_done = len(self._in_flight) + sum(map(len, self._pending))

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Note Ctrl-C, which must not come between a result's name and its line in the manifest."""
        self._is_interrupted = True

    def _check_interrupted(self) -> None:
        if self._is_interrupted:
            raise KeyboardInterrupt

    def _process(self) -> None:
        self._workers.start()
        threading.Thread(target=self._count_inputs, name="counter", daemon=True).start()
        self._process_pending()
        if self._layout.gather is not None:
            self._manifest.flush()
            self._pending_groups = self._find_groups()
            self._process_pending()

    def _process_pending(self) -> None:
        """Process images until there are no more, or groups of them."""
        while True:
            self._fill_window()
            if not self._in_flight:
                return
            if self._workers.is_failing:
                raise UnavailableError("workers", "the workers cannot start; see the messages above")
            self._apply_events(_POLL_SECS)
            self._check_interrupted()
            self._check_waiting()

    def _check_waiting(self) -> None:
        """Raise an error if workers wait for something: nobody may ever mend it."""
        if self._waiting_for is not None:
            if self._waiting_for.startswith("store full"):
                raise NoSpaceError(self._folder.path)
            raise UnavailableError("store", f"{self._waiting_for}; finished results are kept")

    def _stop(self) -> None:
        """Stop the workers and apply their last events."""
        self._workers.stop(self._options.settings.drain_secs)
        try:
            while self._in_flight and self._apply_events(0.0):
                pass
        except NoSpaceError as error:
            self._summary.stopped = error.message

    def _make_workers(self) -> Workers:
        options = self._options
        if options.make_workers is not None:
            return options.make_workers(self._broker, self._folder.work)
        spec = PipeWorkerSpec(
            name="",
            steps=available_steps(program=bool(options.settings.program)),
            store=self._folder.work,
            input_root=WHOLE_HOST,
            limits=options.limits,
            settings=options.settings,
            logs_outages=False,
        )
        names = [f"worker-{index}" for index in range(options.workers)]
        return Supervisor([replace(spec, name=name).process(self._broker) for name in names])

    def _find_pending(self) -> Iterator[list[tuple[int, InputFile]]]:
        """Yield the outputs of each file that have no results yet, with the number of each."""
        for file in self._inputs.files(self._ignore, self._names):
            self._check_interrupted()
            outputs = _each_output(file, self._options.plan)
            pending = [(number, each) for number, each in enumerate(outputs) if not self._manifest.is_done(each)]
            self._summary.skipped += len(outputs) - len(pending)
            if pending:
                yield pending

    def _ignore(self, file: str, reason: str) -> None:
        self._summary.ignore(file, reason)
        self._manifest.add_ignored(file, reason)

    def _count_inputs(self) -> None:
        self._total = self._inputs.count() * self._layout.count

    def _fill_window(self) -> None:
        ended, count = self._summary.done + self._summary.failed, self._layout.count
        size = fit_chunk(self._busy_secs * count / ended) if ended else 1
        while len(self._in_flight) <= (_CHUNKS_PER_WORKER * self._options.workers - 1) * size * count:
            batch = list(islice(self._pending, size))
            group = None if batch else next(self._pending_groups, None)
            if batch:
                self._publish(batch)
            elif group is not None:
                self._publish_group(group)
            else:
                return

    def _publish(self, batch: Sequence[Sequence[tuple[int, InputFile]]]) -> None:
        images = []
        for outputs in batch:
            for number, file in outputs:
                image = self._published * self._layout.count + number
                self._in_flight[image] = file
                regions = file_url(file.sidecar.path) if file.sidecar else ()
                images.append(ImageRef(id=image, stem=file.stem, ref=file_url(file.path), regions=regions))
            self._published += 1
        self._broker.publish(self._first_queue, [self._chunk(images).model_dump_json().encode()])

    def _chunk(self, images: list[ImageRef]) -> Chunk:
        return Chunk(
            job=_JOB,
            chunk=str(images[0].id),
            plan=self._plan,
            images=images,
            results="results",
            names=self._names.template,
            enqueued_at=time.time(),
        )

    def _find_groups(self) -> Iterator[Group]:
        """Yield the groups whose images are not as they were when the group was done."""
        plan, folder = self._options.plan, self._folder
        files = ((source_digest(file), file) for file in self._inputs.files(lambda _name, _reason: None, self._names))
        for group in find_groups(plan, folder.path, folder.work, files, self._manifest.entries()):
            self._check_interrupted()
            if self._manifest.is_done(group.file):
                self._summary.skipped += 1
                continue
            self._total = None if self._total is None else self._total + 1
            yield group

    def _publish_group(self, group: Group) -> None:
        gather, step = self._layout.gather, self._options.plan.steps[self._layout.size]
        assert gather is not None
        if group.source is None:
            message = "no image of the group succeeded"
            self._add_failure(group.file, Failure(code=ImageCode.NO_IMAGES, message=message, step=step, retry=True))
            return
        image = ImageRef(id=GROUP_IDS + self._published, stem=group.file.stem, ref=group.source)
        self._in_flight[image.id] = group.file
        self._published += 1
        chunk = self._chunk([image])
        chunk.step = gather.start
        self._broker.publish(step_queue(step), [chunk.model_dump_json().encode()])

    def _apply_events(self, timeout_secs: float) -> bool:
        """Wait for an event, then apply all that have arrived; return whether there was one."""
        delivery = self._events.get(timeout_secs)
        arrived = delivery is not None
        while delivery is not None:
            self._apply(delivery.body)
            self._events.ack(delivery)
            delivery = self._events.get(0.0)
        self._flush()
        summary = self._summary
        ended = summary.done + summary.failed
        total = None if self._total is None else max(0, self._total - summary.skipped - summary.passed_over)
        self._progress.update(ended, total)
        return arrived

    def _flush(self) -> None:
        """Write the manifest's lines; the images in them are done only then."""
        done, self._done = self._done, []
        self._manifest.flush()
        for results in done:
            self._summary.finish(results)

    def _apply(self, body: bytes) -> None:
        events = read_events(body)
        self._waiting_for = next((event.waiting_for for event in events if event.waiting_for), self._waiting_for)
        for outcome in (outcome for event in events for outcome in event.outcomes):
            file = self._in_flight.get(outcome.id)
            if file is None:
                continue
            self._busy_secs += sum(timing.work for timing in outcome.timings)
            if outcome.error is not None:
                self._add_failure(file, outcome.error)
                for result in outcome.results:
                    self._folder.settle(result.name)
            else:
                self._publish_results(file, outcome)
            del self._in_flight[outcome.id]

    def _publish_results(self, file: InputFile, outcome: Outcome) -> None:
        try:
            self._manifest.publish(file, outcome)
        except NameTakenError as error:
            step = self._options.plan.steps[-1]
            self._add_failure(file, Failure(code=error.code, message=error.message, step=step, retry=True))
        else:
            self._done.append(outcome.results)

    def _add_failure(self, file: InputFile, failure: Failure) -> None:
        self._manifest.add_failure(file, failure.model_dump(include={"code", "message", "step", "retry"}))
        self._summary.fail(file.name, failure.model_dump(include={"code", "message", "step"}))
        if failure.resume_blob:  # the failed step's input, kept for a retry; a run has none
            with suppress(OSError):
                (self._folder.work / failure.resume_blob).unlink()


def _check_performable(options: RunOptions) -> None:
    performable = available_steps(program=bool(options.settings.program))
    for index, step in enumerate(options.plan.steps):
        if step not in performable:
            raise PlanError(
                "unknown_operation",
                f"{step} is declared, but PENSTOCK_PROGRAM names no program that runs it",
                f"/operations/{index}",
            )


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
