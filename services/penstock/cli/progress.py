"""Progress of a command on stderr: a bar on a terminal, a line every few seconds in a log, nothing for scripts."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import click

from penstock.cli.formatting import format_job_speed, format_speed, printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from penstock.common.model.rest import Job


class Bar(NamedTuple):
    """How much of one phase of a command is done; `total` is None while it is unknown."""

    phase: str
    completed: int
    total: int | None = None
    note: str = ""
    failed: int = 0


class Lines:
    """Writes a line every `interval_secs`, the first one after that time."""

    def __init__(
        self,
        write: Callable[[str], object] = lambda line: click.echo(line, err=True),
        interval_secs: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._interval_secs = interval_secs
        self._clock = clock
        self._next_at = clock() + interval_secs

    def show(self, line: str, *, always: bool = False) -> None:
        """Write a line if one is due, or `always`."""
        now = self._clock()
        if always or now >= self._next_at:
            self._next_at = now + self._interval_secs
            self._write(printable(line))


class Bars:
    """Draws the bar of the present phase with rich; it is gone when the command has ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TextColumn("{task.fields[failures]}", markup=False, style="red"),
            console=Console(stderr=True),
            expand=True,
            transient=True,
        )
        self._phase = ""
        self._task: TaskID | None = None
        self._progress.start()

    def show(self, bar: Bar) -> None:
        """Draw a bar; that of an earlier phase disappears."""
        is_new = bar.phase != self._phase
        if is_new or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(bar.phase, total=None, note="", failures="")
            self._phase = bar.phase
        failures = f"{bar.failed} failed" if bar.failed else ""
        self._progress.update(self._task, completed=bar.completed, total=bar.total, note=bar.note, failures=failures)
        if is_new:
            self._progress.refresh()

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


class Progress:
    """Progress of a local run, and of uploads, jobs and downloads. May be called from any thread.

    Args:
        display: shows it; None: nothing is shown.
        clock: returns seconds.
    """

    def __init__(self, display: Lines | Bars | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._started_at = clock()
        self._lock = threading.RLock()
        self._files = self._uploaded = self._downloaded = 0

    def update(self, ended: int, total: int | None) -> None:
        """Show that `ended` images of `total` (None: not counted yet) of a local run have ended."""
        rate = ended / max(0.001, self._clock() - self._started_at)
        eta_secs = None if total is None else max(0, total - ended) / max(0.001, rate)
        speed = format_speed(rate, eta_secs)
        self._show(f"{_describe_count(ended, total, 'images')} ({speed})", Bar("images", ended, total, speed))

    def begin_upload(self, files: int, uploaded: int) -> None:
        """Show that `uploaded` of `files` were on the server before."""
        self._files, self._uploaded = files, uploaded
        if uploaded:
            line = f"resuming: {uploaded} of {files} files are already uploaded"
            self._show(line, Bar("upload", uploaded, files), always=True)

    def add_upload(self) -> None:
        """Count a file that was uploaded."""
        with self._lock:
            self._uploaded += 1
            line = f"uploaded {_describe_count(self._uploaded, self._files, 'files')}"
            self._show(line, Bar("upload", self._uploaded, self._files))

    def show_job(self, job: Job) -> None:
        """Show a job's state."""
        ended = job.images.done + job.images.failed
        note = f"waiting for: {job.waiting_for}" if job.waiting_for else format_job_speed(job)
        bar = Bar("images", ended, job.images.total, printable(note), job.images.failed)
        self._show(describe_job(job), bar)

    def add_download(self) -> None:
        """Count a result that was downloaded."""
        with self._lock:
            self._downloaded += 1
            self._show(f"downloaded {self._downloaded} results", Bar("download", self._downloaded))

    def close(self) -> None:
        """Restore the terminal."""
        if isinstance(self._display, Bars):
            self._display.close()

    def _show(self, line: str, bar: Bar, *, always: bool = False) -> None:
        with self._lock:
            if isinstance(self._display, Bars):
                self._display.show(bar)
            elif self._display is not None:
                self._display.show(line, always=always)


def make_progress(*, as_json: bool) -> Progress:
    """Return progress that is shown as stderr suggests; not at all if the command writes JSON."""
    if as_json:
        return Progress(None)
    return Progress(Bars() if sys.stderr.isatty() and find_spec("rich") else Lines())


def describe_job(job: Job) -> str:
    """Return a job's progress in one line."""
    ended = job.images.done + job.images.failed
    steps = ", ".join(f"{step.step} {step.done + step.failed}" for step in job.steps)
    speed = format_job_speed(job)
    waiting = f", waiting for: {job.waiting_for}" if job.waiting_for else ""
    return (
        f"{job.state}: {ended} of {job.images.total} images{speed and f' ({speed})'}{waiting}; past each step: {steps}"
    )


def _describe_count(completed: int, total: int | None, unit: str) -> str:
    return f"{completed} {unit}" if total is None else f"{completed} of {total} {unit}"
