"""Store factory: the time limits that it gives to obstore."""

from __future__ import annotations

import pytest

from penstock.common.settings import StoreSettings
from penstock.common.store.factory import client_options, retry_config


@pytest.mark.parametrize("timeout_secs", [1.0, 30.0, 3_600.0])
def test_the_last_attempt_ends_within_the_time_limit(timeout_secs: float) -> None:
    settings = StoreSettings(store_timeout_secs=timeout_secs)
    retries, attempt = retry_config(settings), client_options(settings)["timeout"]
    attempt_secs = int(attempt.removesuffix("ms")) / 1000
    pause_secs = retries["backoff"]["max_backoff"].total_seconds()
    assert retries["retry_timeout"].total_seconds() + pause_secs + attempt_secs <= timeout_secs + 0.001
    assert attempt_secs + pause_secs < retries["retry_timeout"].total_seconds(), "there is time for a second attempt"
