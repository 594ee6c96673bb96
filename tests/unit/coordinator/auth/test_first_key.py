"""The first key: made once, kept as a hash that only its owner may read, and left out where there are other keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.common.settings import ServeSettings
from penstock.coordinator.auth.first_key import with_first_key
from penstock.coordinator.auth.keys import read_keys


def test_a_server_without_keys_makes_one_at_its_first_start_only(tmp_path: Path) -> None:
    settings = ServeSettings(data=tmp_path / "data", first_key=True)
    said: list[str] = []
    completed = [with_first_key(settings, said.append) for _ in range(2)]
    (line,) = said
    token = line.split()[-1]
    for each in completed:
        keys = read_keys(each, "0.0.0.0")
        assert keys is not None
        key = keys.find(token)
        assert key is not None
        assert key.admin
    (file,) = (tmp_path / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in file.read_text()


@pytest.mark.parametrize(
    "given",
    [{"first_key": False}, {"first_key": True, "open": True}, {"first_key": True, "api_keys": json.dumps([])}],
    ids=str,
)
def test_no_key_is_made_unasked_or_beside_other_settings(given: dict[str, object], tmp_path: Path) -> None:
    settings = ServeSettings(data=tmp_path / "data", **given)  # type: ignore[arg-type]
    assert with_first_key(settings, print) is settings
    assert not (tmp_path / "data").exists()
