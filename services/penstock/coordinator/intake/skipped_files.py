"""Skipped files: what folders and buckets have besides a job's images, counted and with the reason."""

from dataclasses import dataclass, field
from typing import Any

_KEPT = 100


@dataclass
class SkippedFiles:
    """Files that are left out of a job. `first` has the names and reasons of the first hundred."""

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """Count a file; the reason completes "… is …"."""
        self.count += 1
        if len(self.first) < _KEPT:
            self.first.append((name, reason))

    def document(self) -> dict[str, Any] | None:
        """Return them as the job's row stores them, in the form of `rest.Skipped`; None without any."""
        if not self.count:
            return None
        return {"count": self.count, "first": [{"name": name, "reason": reason} for name, reason in self.first]}
