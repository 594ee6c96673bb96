"""Summary of a local run: counts, failures and exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_SHOWN_FAILURES = 20
_KEPT_FAILURES = 1_000


@dataclass
class Summary:
    """Outcome of a run. `failures` holds the first thousand: `{image, code, message, step}`."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Done by an earlier run already."""
    passed_over: int = 0
    """Files in folders that are not images. The name is part of the JSON output."""
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
            parts.append(f"{self.passed_over} files ignored that are not images")
        verb = "interrupted: " if self.interrupted else ""
        lines = [f"{verb}{', '.join(parts)} in {self.seconds:.1f} s ({rate:.1f} images/s); results in {out}"]
        lines += [f"  {item['image']}: {item['code']}: {item['message']}" for item in self.failures[:_SHOWN_FAILURES]]
        if self.failed > _SHOWN_FAILURES:
            lines.append(f"  … and {self.failed - _SHOWN_FAILURES} more, all in the manifest")
        return [line.encode("utf-8", "replace").decode() for line in lines]
