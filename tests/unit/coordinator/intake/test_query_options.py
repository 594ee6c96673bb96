"""Query options: those of the last queries are remembered, refusals are not."""

from __future__ import annotations

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.coordinator.intake.query_options import QueryReader

QUERY = [("op", "resize=8x8"), ("quality", "80")]


def test_the_same_query_is_read_once_for_each_priority() -> None:
    reader = QueryReader(Limits())
    first = reader.read(QUERY, 7)
    assert reader.read([*QUERY], 7) is first
    other = reader.read(QUERY, 3)
    assert (first.request.document.priority, other.request.document.priority) == (7, 3)
    assert first.request.document.quality == 80


def test_long_queries_and_refusals_are_read_again() -> None:
    reader = QueryReader(Limits())
    long = [*QUERY, ("filename", "a" * 1_000)]
    assert reader.read(long, 7) is not reader.read(long, 7)
    for _ in range(2):
        with pytest.raises(RequestError, match="no such parameter"):
            reader.read([("qualty", "80")], 7)
