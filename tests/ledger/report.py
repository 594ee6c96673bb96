"""Report: writes the table in docs/reliability.md."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

BEGIN, END = "<!-- made by make ledger: begin -->", "<!-- made by make ledger: end -->"
HEAD = ("point or fault", "runs", "struck", "restarts", "redeliveries", "lost", "doubled", "wrong", "stuck")
FOUND = ("lost", "doubled", "wrong", "stuck")


class TableRow(Protocol):
    """One row of the table; see `sweep.Row`."""

    name: str
    runs: int
    injected: int
    restarts: int
    redelivered: int
    found: dict[str, int]


def write_page(page: Path, rows: Sequence[TableRow], secs: float, arguments: Sequence[str]) -> None:
    """Replace the table between the markers of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{make_table(rows, secs, arguments)}\n{END}{after}")


def make_table(rows: Sequence[TableRow], secs: float, arguments: Sequence[str]) -> str:
    """Return the table in Markdown; its last row has the sums."""
    cells = [[row.name, *_numbers(row)] for row in rows]
    sums = [sum(int(cell[column]) for cell in cells) for column in range(1, len(HEAD))]
    lines = [_line(HEAD), _line(["---"] * len(HEAD)), *(_line(cell) for cell in cells)]
    lines.append(_line(["**all**", *map(str, sums)]))
    given = f' ARGS="{shlex.join(arguments)}"' if arguments else ""
    return f"`make ledger{given}`: {sums[0]} runs in {secs / 60:.0f} minutes.\n\n" + "\n".join(lines)


def _numbers(row: TableRow) -> list[str]:
    counts = [row.runs, row.injected, row.restarts, row.redelivered, *(row.found.get(name, 0) for name in FOUND)]
    return [str(count) for count in counts]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
