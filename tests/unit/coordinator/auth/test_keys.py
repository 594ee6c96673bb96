"""API keys are created, found, and read from settings with clear errors."""

from __future__ import annotations

import hmac
import json
from pathlib import Path

import pytest

from penstock.common.settings import CoordinatorSettings, SettingsError
from penstock.coordinator.auth.keys import ApiKey, Keys, hash_token, make_key, new_token, read_keys


def entry(name: str = "delft", **fields: object) -> dict[str, object]:
    return {"name": name, "hash": hash_token(f"pk_{name}"), **fields}


def read(address: str = "127.0.0.1", **given: object) -> Keys | None:
    if "api_keys" in given and not isinstance(given["api_keys"], str):
        given["api_keys"] = json.dumps(given["api_keys"])
    return read_keys(CoordinatorSettings(**given), address)


def test_a_key_has_256_random_bits_and_only_its_hash_is_stored():
    token, key = make_key("delft", weight=3)
    assert token.startswith("pk_")
    assert len(token) == 3 + 43
    assert key == ApiKey(name="delft", hash=hash_token(token), weight=3)
    assert token not in repr(key)
    assert key.hash not in repr(key)
    assert len({new_token() for _ in range(100)}) == 100


def test_a_key_is_found_by_its_token_only():
    made = [make_key(name) for name in ("delft", "gouda")]
    keys = Keys([key for _, key in made])
    assert [keys.find(token) for token, _ in made] == [key for _, key in made]
    assert keys.find(made[0][1].hash) is None
    for wrong in ("", "pk_", made[0][0] + "x", made[0][0][:-1], "pk_é", "pk_\udcff"):
        assert keys.find(wrong) is None


def test_every_entry_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    made = [make_key(f"k{number}") for number in range(5)]
    keys = Keys([key for _, key in made])
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def note(kept: str, given: str) -> bool:
        compared.append((kept, given))
        return compare(kept, given)

    monkeypatch.setattr(hmac, "compare_digest", note)
    for token in (made[0][0], made[4][0], "pk_wrong"):
        keys.find(token)
        assert compared == [(key.hash, hash_token(token)) for _, key in made]
        compared.clear()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_no_key_is_needed_on_loopback_unless_some_are_given(address: str):
    assert read(address) is None
    assert read(address, api_keys=[]) is None
    assert read(address, api_keys="") is None
    keys = read(address, api_keys=[entry()])
    assert keys is not None
    assert keys.find("pk_delft") is not None


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.4", "2001:db8::1"])
def test_other_addresses_need_keys_or_an_explicit_open(address: str):
    with pytest.raises(SettingsError, match=r"PENSTOCK_API_KEYS .* or PENSTOCK_OPEN=true") as refused:
        read(address)
    assert "\n" not in refused.value.message
    with pytest.raises(SettingsError, match="PENSTOCK_OPEN=true"):
        read(address, api_keys=[])
    assert read(address, open=True) is None
    assert read(address, api_keys=[entry()]) is not None


def test_open_and_keys_exclude_each_other():
    with pytest.raises(SettingsError, match="exclude each other"):
        read(open=True, api_keys=[entry()])


def test_keys_are_also_read_from_a_file(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("gouda", admin=True, max_open_jobs=3)]))
    keys = read(api_keys=[entry()], api_keys_file=path)
    assert keys is not None
    assert [(key.name, key.admin, key.max_open_jobs) for key in keys.entries] == [
        ("delft", False, None),
        ("gouda", True, 3),
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{", "PENSTOCK_API_KEYS: not a JSON list of keys"),
        ("{}", "PENSTOCK_API_KEYS: not a JSON list of keys: "),
        ([{"name": "delft"}], "PENSTOCK_API_KEYS: 0.hash: missing, but required"),
        ([entry("Delft")], r"PENSTOCK_API_KEYS: 0.name: accepted is a name of up to 63 of a-z"),
        ([entry("a b")], r"0.name: accepted is a name of up to 63 of a-z"),
        ([entry(weight=0)], "0.weight: accepted is 1 or more"),
        ([entry(max_open_jobs=0)], "0.max_open_jobs: "),
        ([entry(quota=3)], "0.quota: there is no such field"),
        ([entry(), entry()], "API keys: two entries have the name of 'delft'"),
        (
            [entry(), {**entry("gouda"), "hash": hash_token("pk_delft")}],
            "API keys: two entries have the hash of 'delft'",
        ),
    ],
)
def test_an_invalid_key_is_reported_with_its_position(keys: object, said: str):
    with pytest.raises(SettingsError, match=said):
        read(api_keys=keys)


def test_a_key_in_the_place_of_its_hash_is_not_shown():
    token = new_token()
    with pytest.raises(SettingsError, match=r"0\.hash") as refused:
        read(api_keys=[{"name": "delft", "hash": token}])
    assert token not in refused.value.message


def test_an_unreadable_file_of_keys_is_named(tmp_path: Path):
    path = tmp_path / "missing.json"
    with pytest.raises(SettingsError, match=r"PENSTOCK_API_KEYS_FILE=.*missing\.json: cannot be read"):
        read(api_keys_file=path)
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="cannot be read"):
        read(api_keys_file=path)


def test_an_invalid_name_makes_no_key():
    with pytest.raises(SettingsError, match="key: name: "):
        make_key("../delft")
