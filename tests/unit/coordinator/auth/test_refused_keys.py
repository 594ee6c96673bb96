"""Refused keys: logged, but not so often that nobody reads it."""

from __future__ import annotations

import pytest
from coordinator_fixture import ManualClock

from penstock.coordinator.auth.keys import new_token
from penstock.coordinator.auth.refused_keys import RefusedKeys


def test_many_refused_keys_are_counted_instead_of_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    refused = RefusedKeys(clock)
    for _ in range(500):
        refused.note(new_token(), "10.0.0.1", None)
    assert len(caplog.records) == 10
    clock.advance(61)
    refused.note(new_token(), "10.0.0.1", None)
    assert [record.message.split(",")[0] for record in caplog.records[10:]] == [
        "refused 490 more unknown API keys",
        "refused an unknown API key",
    ]


@pytest.mark.parametrize(
    "token", ["", "hunter2", "pk_", "pk_short", "pk_\n" + "x" * 40, "sha256:" + "0" * 64, "é" * 40]
)
def test_what_is_no_key_is_not_shown(caplog: pytest.LogCaptureFixture, token: str) -> None:
    RefusedKeys().note(token, "10.0.0.1", "spoofed\nline, " + "x" * 100)
    [record] = caplog.records
    assert record.message == (
        f"refused an unknown API key, which is not one of Penstock, from 10.0.0.1, forwarded for '{'x' * 45}'"
    )
