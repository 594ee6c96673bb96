"""Ids: unique, sortable, and told apart from other texts."""

from __future__ import annotations

import time

import pytest

from penstock.coordinator.ports.ids import is_id, new_id


def test_ids_sort_by_time_and_never_repeat() -> None:
    earlier = [new_id() for _ in range(1_000)]
    time.sleep(0.002)  # ids of the same millisecond are in random order
    later = new_id()
    assert len(set(earlier)) == 1_000
    assert max(earlier) < later
    assert all(is_id(made) for made in [*earlier, later])


@pytest.mark.parametrize("text", ["", "0" * 25, "0" * 27, "0" * 25 + "i", "0" * 25 + "\n", "../" + "0" * 23, "A" * 26])
def test_other_texts_are_not_ids(text: str) -> None:
    assert not is_id(text)
