"""Throughput: how many images of a job ended in each interval of its working time."""

import json
from dataclasses import dataclass, field
from typing import Self

MAX_INTERVALS = 120


@dataclass
class Throughput:
    """Images done and failed in equal intervals of the job's working time, which leaves out pauses between runs.

    There are at most `MAX_INTERVALS`: when the job takes longer, each two become one, so its row stays small.
    """

    interval_secs: int = 1
    done: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    def add(self, at_secs: float, done: int, failed: int) -> None:
        """Count images that ended after `at_secs` of working time."""
        index = max(0, int(at_secs // self.interval_secs))
        while index >= MAX_INTERVALS:
            self.done, self.failed = _halve(self.done), _halve(self.failed)
            self.interval_secs *= 2
            index //= 2
        missing = index + 1 - len(self.done)
        if missing > 0:
            self.done += [0] * missing
            self.failed += [0] * missing
        self.done[index] += done
        self.failed[index] += failed

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return what `to_text` returned; nothing from an empty text."""
        return cls(*json.loads(text)) if text else cls()

    def to_text(self) -> str:
        """Return it as text for the database; empty without images."""
        return json.dumps([self.interval_secs, self.done, self.failed], separators=(",", ":")) if self.done else ""


def _halve(counts: list[int]) -> list[int]:
    return [sum(counts[index : index + 2]) for index in range(0, len(counts), 2)]
