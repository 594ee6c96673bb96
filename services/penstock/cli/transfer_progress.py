"""What a person, a log file or a script is told while pictures are sent, worked on and fetched."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from penstock.cli.formatting import printable
from penstock.client.models import Job

if TYPE_CHECKING:
    from rich.progress import TaskID

_LINE_SECS = 5.0


class Reporter(Protocol):
    """Shows how far it is. `sent` and `fetched` are called from many threads."""

    def begin_sending(self, total: int, before: int) -> None:
        """Show that `before` of `total` pictures have arrived earlier."""

    def sent(self) -> None:
        """Show that another picture has arrived."""

    def progress(self, job: Job) -> None:
        """Show how far a job is."""

    def fetched(self) -> None:
        """Show that another result is here."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Silent:
    """For scripts."""

    def begin_sending(self, total: int, before: int) -> None:
        """Show nothing."""

    def sent(self) -> None:
        """Show nothing."""

    def progress(self, job: Job) -> None:
        """Show nothing."""

    def fetched(self) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to leave."""


class Lines:
    """For logs: a line every few seconds."""

    def __init__(self, write: Callable[[str], object] = sys.stderr.write, pause_secs: float = _LINE_SECS) -> None:
        self._write = write
        self._pause_secs = pause_secs
        self._next = time.monotonic() + pause_secs
        self._lock = threading.Lock()
        self._sent = self._total = self._fetched = 0

    def begin_sending(self, total: int, before: int) -> None:
        """Tell what was there before."""
        self._sent, self._total = before, total
        if before:
            self._write(f"going on: {before} of {total} pictures are there\n")

    def sent(self) -> None:
        """Write a line when one is due."""
        with self._lock:
            self._sent += 1
            self._tell(f"sent {self._sent} of {self._total} pictures")

    def progress(self, job: Job) -> None:
        """Write a line when one is due."""
        self._tell(describe_progress(job))

    def fetched(self) -> None:
        """Write a line when one is due."""
        with self._lock:
            self._fetched += 1
            self._tell(f"fetched {self._fetched} results")

    def close(self) -> None:
        """Nothing to leave."""

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._pause_secs
            self._write(f"{printable(text)}\n")


class Bars:
    """For people: a bar for each step."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.description:>10}", markup=False),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def begin_sending(self, total: int, before: int) -> None:
        """Draw a bar for what is sent."""
        self._bars.update(self._task("send"), total=total, completed=before)

    def sent(self) -> None:
        """Move that bar."""
        self._bars.advance(self._task("send"))

    def progress(self, job: Job) -> None:
        """Move the steps' bars."""
        for index, step in enumerate(job.steps):
            task = self._task(f"step-{index}", step.step)
            last = index == len(job.steps) - 1
            self._bars.update(
                task,
                total=job.images.total,
                completed=step.done + step.failed,
                note=_speed(job) if last else "",
            )

    def fetched(self) -> None:
        """Move the bar for what is fetched."""
        self._bars.advance(self._task("fetch"))

    def close(self) -> None:
        """Stop redrawing."""
        self._bars.stop()

    def _task(self, key: str, shown: str | None = None) -> TaskID:
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(shown or key, total=None, note="")
        return self._tasks[key]


def make_reporter(*, as_json: bool) -> Reporter:
    """Return what fits whoever looks at stderr."""
    if as_json:
        return Silent()
    if sys.stderr.isatty() and find_spec("rich"):
        return Bars()
    return Lines()


def describe_progress(job: Job) -> str:
    """Return a job's progress in one line."""
    ended = job.images.done + job.images.failed
    passed = ", ".join(f"{step.step} {step.done + step.failed}" for step in job.steps)
    speed = _speed(job)
    return f"{job.state}: {ended} of {job.images.total} images{speed and f' ({speed})'}; past {passed}"


def _speed(job: Job) -> str:
    if not job.images_per_second:
        return ""
    to_go = "" if job.eta_seconds is None else f", {job.eta_seconds:.0f} s to go"
    return f"{job.images_per_second:.1f} images/s{to_go}"
