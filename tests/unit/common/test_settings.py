"""Settings: precedence of defaults, environment and command line; all errors are reported at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from penstock.common.settings import Limits, ServeSettings, SettingsError, WorkerSettings, load


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("kind", [Limits, WorkerSettings, ServeSettings])
def test_every_setting_has_a_valid_default_and_a_description(kind: type) -> None:
    assert load(kind)
    assert all(field.description for field in kind.model_fields.values())


def test_the_default_limits_are_those_that_are_documented() -> None:
    limits = load(Limits)
    assert (limits.max_files, limits.max_file_bytes, limits.max_upload_bytes) == (1_000, 64 << 20, 1 << 30)
    assert (limits.max_pixels, limits.max_side, limits.max_operations) == (150_000_000, 32_768, 32)
    assert (limits.max_parts, limits.max_name_bytes) == (4_096, 255)
    assert (limits.max_images, limits.max_open_jobs) == (5_000_000, 1_000)


def test_the_command_line_overrides_the_environment_and_that_overrides_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PENSTOCK_PORT", "9000")
    monkeypatch.setenv("PENSTOCK_DATA", "/srv/data")
    monkeypatch.setenv("PENSTOCK_UNHEARD_OF", "1")
    settings = load(ServeSettings, port=9001, workers=None)
    assert (settings.port, settings.data, settings.workers) == (9001, Path("/srv/data"), None)


def test_serve_listens_on_loopback_by_default() -> None:
    assert load(ServeSettings).host == "127.0.0.1"


def test_all_errors_are_reported_at_once_with_name_value_and_what_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert "PENSTOCK_PORT=99999: accepted is up to 65535" in caught.value.message
    assert "PENSTOCK_PLACEMENT=both: accepted are fused and per_step" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "tiles.example/{z}/{x}/{y}",
        "https://tiles.example/",
        "https://a.b; script-src */{z}/{x}/{y}",
        "https:///{z}/{x}/{y}",
    ],
)
def test_a_url_of_map_tiles_is_checked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PENSTOCK_MAP_TILES", url)
    with pytest.raises(SettingsError, match=r"accepted is a URL with {z}, {x} and {y}, such as https://tiles.example/"):
        load(ServeSettings)


@pytest.mark.parametrize("value", ["inf", "nan", "0", "-1", "1e99"])
def test_durations_that_are_not_positive_and_finite_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PENSTOCK_STEP_TIMEOUT_SECS", value)
    monkeypatch.setenv("PENSTOCK_DRAIN_SECS", value)
    with pytest.raises(SettingsError) as caught:
        load(WorkerSettings)
    assert len(caught.value.message.splitlines()) == 2


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError):
        load(Limits).max_pixels = 1  # type: ignore[misc]
