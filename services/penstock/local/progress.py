"""What a person, a log file or a script is told while `penstock run` works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

_LINE_SECS = 5.0
_SHOWN_FAILURES = 20
_KEPT_FAILURES = 1_000


@dataclass
class Summary:
    """What came of a run. `failures` holds the first thousand: `{image, code, message, step}`."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Done by an earlier run already."""
    passed_over: int = 0
    """Files in folders that are no pictures."""
    seconds: float = 0.0
    interrupted: bool = False
    failures: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, image: str, error: dict[str, Any]) -> None:
        """Count a failure."""
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append({"image": image, **error})

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 130 interrupted."""
        return 130 if self.interrupted else int(self.failed > 0)

    def lines(self, out: str) -> list[str]:
        """Return the summary for people."""
        ended = self.done + self.failed
        rate = ended / self.seconds if self.seconds else 0.0
        parts = [f"{self.done} done", f"{self.failed} failed"]
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        if self.passed_over:
            parts.append(f"{self.passed_over} files passed over that are no pictures")
        verb = "interrupted: " if self.interrupted else ""
        lines = [f"{verb}{', '.join(parts)} in {self.seconds:.1f} s ({rate:.1f} images/s); results in {out}"]
        lines += [f"  {item['image']}: {item['code']}: {item['message']}" for item in self.failures[:_SHOWN_FAILURES]]
        if self.failed > _SHOWN_FAILURES:
            lines.append(f"  … and {self.failed - _SHOWN_FAILURES} more, all in the manifest")
        return [line.encode("utf-8", "replace").decode() for line in lines]


class Progress(Protocol):
    """Shows how far a run is."""

    def update(self, ended: int, total: int | None) -> None:
        """Show that `ended` images of `total` (None: not counted yet) have ended."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Silent:
    """For scripts."""

    def update(self, ended: int, total: int | None) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to leave."""


class Lines:
    """For logs: a line every few seconds."""

    def __init__(self, write: Callable[[str], object] = sys.stderr.write) -> None:
        self._write = write
        self._began = self._next = time.monotonic()
        self._next += _LINE_SECS

    def update(self, ended: int, total: int | None) -> None:
        """Write a line when one is due."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINE_SECS
        rate = ended / (now - self._began)
        of = "" if total is None else f" of {total}, {max(0, total - ended) / max(rate, 0.001):.0f} s to go"
        self._write(f"{ended} images{of} ({rate:.1f}/s)\n")

    def close(self) -> None:
        """Nothing to leave."""


class Bar:
    """For people: a bar with rate and time to go."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} images/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            expand=True,
        )
        self._task = self._bar.add_task("run", total=None, rate=0.0)
        self._began = time.monotonic()
        self._bar.start()

    def update(self, ended: int, total: int | None) -> None:
        """Move the bar."""
        rate = ended / max(0.001, time.monotonic() - self._began)
        self._bar.update(self._task, completed=ended, total=total, rate=rate)

    def close(self) -> None:
        """Stop redrawing."""
        self._bar.stop()


def make_progress(*, as_json: bool) -> Progress:
    """Return what fits whoever looks at stderr."""
    if as_json:
        return Silent()
    if sys.stderr.isatty() and find_spec("rich"):
        return Bar()
    return Lines()
