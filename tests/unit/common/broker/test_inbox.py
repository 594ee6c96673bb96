"""Inbox: order, limit, wake and close."""

from __future__ import annotations

import threading

from penstock.common.broker.base import Delivery
from penstock.common.broker.inbox import Inbox

SECS = 30.0
FIRST, SECOND = (Delivery("q", b"", 1, tag) for tag in (1, 2))


def inbox_with(*deliveries: Delivery, limit: int | None = None) -> Inbox:
    inbox = Inbox(limit)
    for delivery in deliveries:
        inbox.put(delivery)
    return inbox


def test_deliveries_are_returned_in_order_and_none_after_the_timeout() -> None:
    inbox = inbox_with(FIRST, SECOND)
    assert [inbox.get(SECS), inbox.get(SECS), inbox.get(0)] == [FIRST, SECOND, None]


def test_no_more_deliveries_than_the_limit_are_out_until_one_is_settled() -> None:
    inbox = inbox_with(FIRST, SECOND, limit=1)
    assert [inbox.get(SECS), inbox.get(0)] == [FIRST, None]
    inbox.settle(FIRST)
    assert inbox.get(SECS) is SECOND


def test_a_get_that_waits_for_the_limit_returns_when_a_delivery_is_settled() -> None:
    inbox = inbox_with(FIRST, SECOND, limit=1)
    inbox.get(SECS)
    timer = threading.Timer(0.02, inbox.settle, (FIRST,))
    timer.start()
    assert inbox.get(SECS) is SECOND
    timer.join()


def test_wake_comes_before_deliveries_and_ignores_the_limit() -> None:
    inbox = inbox_with(FIRST, SECOND, limit=1)
    inbox.get(SECS)
    inbox.wake()
    assert inbox.get(SECS) is None
    inbox.settle(FIRST)
    assert inbox.get(SECS) is SECOND


def test_clear_drops_deliveries_and_frees_the_limit_but_keeps_a_wake() -> None:
    inbox = inbox_with(FIRST, SECOND, limit=1)
    inbox.get(SECS)
    inbox.wake()
    inbox.clear()
    assert inbox.get(SECS) is None
    inbox.put(SECOND)
    assert inbox.get(SECS) is SECOND


def test_a_closed_inbox_returns_none_at_once_and_drops_deliveries() -> None:
    inbox = inbox_with(FIRST)
    timer = threading.Timer(0.02, inbox.close)
    assert inbox.get(SECS) is FIRST
    timer.start()
    assert inbox.get(None) is None
    inbox.put(SECOND)
    assert inbox.get(None) is None
    timer.join()
