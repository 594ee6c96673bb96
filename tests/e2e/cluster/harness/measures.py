"""Report of the tests: measured figures, and the table in docs/reliability.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from audit import FinalState, audit

BEGIN, END = "<!-- made by make e2e: begin -->", "<!-- made by make e2e: end -->"
COLUMNS = {
    "lost": ("lost",),
    "doubled": ("doubled", "unexpected"),
    "wrong": ("wrong bytes", "wrong outcome", "miscounted"),
    "stuck": ("unresolved", "left over"),
}
"""Findings that count in each column of the table, as in that of `make ledger`."""


@dataclass(frozen=True)
class Row:
    """A fault injected while a number of images were processed, and the findings."""

    what: str
    images: int
    found: Mapping[str, int]


@dataclass
class Report:
    """Figures by name, and rows."""

    figures: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def note(self, name: str, value: float) -> None:
        """Add a figure."""
        self.figures[name] = round(value, 1)

    def survive(self, what: str, final: FinalState) -> None:
        """Add a row for a fault."""
        found = audit(final)
        counts = {column: sum(len(found.get(check, ())) for check in checks) for column, checks in COLUMNS.items()}
        self.rows.append(Row(what, sum(len(job.images) for job in final.jobs), counts))

    def write_json(self) -> str:
        """Return everything as JSON."""
        machine = {"cpus": os.cpu_count(), "machine": platform.machine()}
        return json.dumps(
            {"machine": machine, "figures": self.figures, "rows": [asdict(row) for row in self.rows]}, indent=1
        )

    def write_table(self) -> str:
        """Return rows and figures as Markdown tables."""
        head = ["while a batch ran", "images", *COLUMNS]
        lines = [head, ["---"] * len(head)]
        lines += [[row.what, str(row.images), *(str(row.found[column]) for column in COLUMNS)] for row in self.rows]
        figures = [["measured", ""], ["---", "---"], *([name, f"{value:g}"] for name, value in self.figures.items())]
        return "\n\n".join("\n".join(f"| {' | '.join(line)} |" for line in table) for table in (lines, figures))

    def write_page(self, page: Path) -> None:
        """Write the tables between the markers of a page."""
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{self.write_table()}\n{END}{after}")
