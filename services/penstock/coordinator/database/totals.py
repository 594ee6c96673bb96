"""How many images ever ended in each way, over all jobs: counted in the transactions that end them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, select, text

from penstock.common.model.errors import ImageCode
from penstock.coordinator.database.schema import totals

_CODES = frozenset(ImageCode)

_ADD = text(
    "INSERT INTO totals (outcome, count) VALUES (:outcome, :count)"
    " ON CONFLICT (outcome) DO UPDATE SET count = totals.count + excluded.count"
)
_TOTALS = select(totals.c.outcome, totals.c.count).order_by(totals.c.outcome)


def code_of(error: dict[str, Any] | None) -> str:
    """Return the code that a failure counts under: one of ours, so that there are never more of them.

    A step that somebody else wrote may have sent anything for one, `done` too.
    """
    code = str((error or {}).get("code", ""))
    return code if code in _CODES else ImageCode.INTERNAL.value


def add_to_totals(connection: Connection, ended: Counter[str]) -> None:
    """Add images that end in this transaction.

    The last thing that a transaction does, in the order of outcomes: whoever holds these rows, which all share, waits
    for nobody, and holds them no longer than a commit takes.
    """
    added = [{"outcome": outcome, "count": count} for outcome, count in sorted(ended.items()) if count]
    if added:
        connection.execute(_ADD, added)


def read_totals(connection: Connection) -> dict[str, int]:
    """See Repository.totals."""
    return dict(connection.execute(_TOTALS).all())
