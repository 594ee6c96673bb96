"""Settings: defaults, then the environment, then the command line; and all that is wrong is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from penstock.common.settings import Limits, ServeSettings, SettingsError, WorkerSettings, load


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("kind", [Limits, WorkerSettings, ServeSettings])
def test_every_setting_has_a_default_that_is_accepted_and_a_description(kind: type) -> None:
    assert load(kind)
    assert all(field.description for field in kind.model_fields.values())


def test_the_limits_are_those_of_the_contract() -> None:
    limits = load(Limits)
    assert (limits.max_files, limits.max_file_bytes, limits.max_upload_bytes) == (1_000, 64 << 20, 1 << 30)
    assert (limits.max_pixels, limits.max_side, limits.max_operations) == (50_000_000, 32_768, 32)
    assert (limits.max_parts, limits.max_name_bytes) == (4_096, 255)
    assert (limits.max_images, limits.max_open_jobs) == (5_000_000, 1_000)


def test_the_environment_goes_before_defaults_and_the_command_line_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PORT", "9000")
    monkeypatch.setenv("PENSTOCK_DATA", "/srv/data")
    monkeypatch.setenv("PENSTOCK_UNHEARD_OF", "1")
    settings = load(ServeSettings, port=9001, workers=None)
    assert (settings.port, settings.data, settings.workers) == (9001, Path("/srv/data"), None)


def test_serve_listens_on_loopback_unless_told_otherwise() -> None:
    assert load(ServeSettings).host == "127.0.0.1"


def test_everything_wrong_is_told_at_once_with_name_value_and_what_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PORT", "99999")
    monkeypatch.setenv("PENSTOCK_WORKERS", "many")
    monkeypatch.setenv("PENSTOCK_PLACEMENT", "both")
    with pytest.raises(SettingsError) as caught:
        load(ServeSettings, max_chunk=0)
    lines = sorted(caught.value.message.splitlines())
    assert [line.split(":")[0] for line in lines] == [
        "PENSTOCK_MAX_CHUNK=0",
        "PENSTOCK_PLACEMENT=both",
        "PENSTOCK_PORT=99999",
        "PENSTOCK_WORKERS=many",
    ]
    assert "less than or equal to 65535" in caught.value.message
    assert "'fused' or 'per_step'" in caught.value.message


@pytest.mark.parametrize("value", ["inf", "nan", "0", "-1", "1e99"])
def test_times_that_no_clock_can_wait_for_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PENSTOCK_STEP_TIMEOUT_SECS", value)
    monkeypatch.setenv("PENSTOCK_DRAIN_SECS", value)
    with pytest.raises(SettingsError) as caught:
        load(WorkerSettings)
    assert len(caught.value.message.splitlines()) == 2


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValidationError):
        load(Limits).max_pixels = 1  # type: ignore[misc]
