"""Totals: how many images of all jobs ended in each way, counted in the transactions that end them."""

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
    """Return the code under which a failure is counted: one of ours, so that their number stays bounded.

    A user's own step may send any code, even `done`.
    """
    code = str((error or {}).get("code", ""))
    return code if code in _CODES else ImageCode.INTERNAL.value


def add_to_totals(connection: Connection, ended: Counter[str]) -> None:
    """Add the images that end in this transaction, by outcome.

    Every transaction shares these rows. So it takes them last, and in the order of outcomes: nothing waits for them
    longer than a commit takes, and no two transactions wait for each other.
    """
    added = [{"outcome": outcome, "count": count} for outcome, count in sorted(ended.items()) if count]
    if added:
        connection.execute(_ADD, added)


def read_totals(connection: Connection) -> dict[str, int]:
    """See Repository.totals."""
    return dict(connection.execute(_TOTALS).all())
