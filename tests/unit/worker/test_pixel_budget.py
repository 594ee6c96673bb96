"""PixelBudget: counts what each holder keeps in memory."""

from __future__ import annotations

from penstock.worker.pixel_budget import PixelBudget


def test_each_holder_counts_with_what_it_said_last() -> None:
    budget = PixelBudget(100)
    budget.hold("a", 60)
    budget.hold("b", 30)
    budget.hold("a", 70)
    assert (budget.used, budget.is_exceeded, budget.has_room(1)) == (100, False, False)
    budget.hold("b", 31)
    assert budget.is_exceeded
    budget.hold("a", 0)
    assert (budget.used, budget.has_room(69)) == (31, True)
