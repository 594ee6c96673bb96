"""API keys: what opens the REST API, and how much of it.

A key is 256 random bits, which nobody can guess or try; so a plain SHA-256 of it is kept, where a password would need
a slow hash. Whoever reads the hashes can't make a key of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from penstock.common.settings import CoordinatorSettings, SettingsError

_PREFIX = "pk_"
"""Lets people, and programs that look for secrets in what is published, know a key when they see one."""

_Bound = Annotated[int | None, Field(ge=1)]


class ApiKey(BaseModel):
    """One key, as `PENSTOCK_API_KEYS` has it. What is not bounded here, the server's own limits bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    """Its jobs and uploads belong to the name: a new key of the same name has them."""
    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", repr=False)]
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    """Its share of the workers among those who compete for them, whatever its jobs are in number."""
    max_priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """The highest that its jobs may ask for."""
    max_open_jobs: _Bound = None
    max_open_images: _Bound = None
    """Of all its jobs together, those that have not ended."""
    images_per_day: _Bound = None
    """Accepted between midnight and midnight, UTC."""
    admin: bool = False
    """Whether it sees and changes everybody's jobs and uploads."""


_KEYS = TypeAdapter(list[ApiKey])


@dataclass(frozen=True)
class Keys:
    """Every key that opens this server."""

    entries: Sequence[ApiKey]

    @property
    def weights(self) -> dict[str, int]:
        """The weight of each key, by its name."""
        return {key.name: key.weight for key in self.entries}

    def find(self, token: str) -> ApiKey | None:
        """Return the key of a token, None where it is none of them."""
        return self.find_hash(hash_token(token))

    def find_hash(self, digest: str) -> ApiKey | None:
        """Return the key with a hash. Every entry is compared, whole: the time tells nothing of any."""
        found = None
        for key in self.entries:
            if hmac.compare_digest(key.hash, digest):
                found = key
        return found


def new_token() -> str:
    """Return a new key: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return what is kept of a key, or of a browser's cookie."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(name: str, **fields: object) -> tuple[str, ApiKey]:
    """Return a new key and its entry for `PENSTOCK_API_KEYS`.

    Raises:
        SettingsError: a name or bound that is not accepted.
    """
    token = new_token()
    try:
        return token, ApiKey.model_validate({"name": name, "hash": hash_token(token), **fields})
    except ValidationError as error:
        raise _refuse("key", error) from error


def read_keys(settings: CoordinatorSettings, address: str) -> Keys | None:
    """Return the keys that a server asks for which listens on an address; None where it is open to everybody.

    Raises:
        SettingsError: keys that cannot be read, or none for an address that others reach.
    """
    entries = _read_entries(settings)
    if entries and settings.open:
        raise SettingsError("invalid_settings", "PENSTOCK_OPEN=true and API keys exclude each other; accepted is one")
    if entries:
        return Keys(entries)
    if not settings.open and not ip_address(address).is_loopback:
        raise SettingsError(
            "invalid_settings",
            f"others reach {address}: give PENSTOCK_API_KEYS (`penstock key NAME` makes one),"
            " or PENSTOCK_OPEN=true to serve whoever comes",
        )
    return None


def _read_entries(settings: CoordinatorSettings) -> list[ApiKey]:
    entries = []
    if settings.api_keys:
        entries += _parse("PENSTOCK_API_KEYS", settings.api_keys)
    if settings.api_keys_file is not None:
        where = f"PENSTOCK_API_KEYS_FILE={settings.api_keys_file}"
        entries += _parse(where, _read_file(settings.api_keys_file, where))
    for attribute in ("name", "hash"):
        values = [getattr(key, attribute) for key in entries]
        doubled = [key.name for key in entries if values.count(getattr(key, attribute)) > 1]
        if doubled:
            raise SettingsError("invalid_settings", f"API keys: two have the {attribute} of {doubled[0]!r}")
    return entries


def _read_file(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("invalid_settings", f"{where}: cannot be read: {error}") from error


def _parse(where: str, text: str) -> list[ApiKey]:
    try:
        return _KEYS.validate_python(json.loads(text))
    except ValidationError as error:
        raise _refuse(where, error) from error
    except ValueError as error:
        raise SettingsError("invalid_settings", f"{where}: no JSON list of keys: {error}") from error


def _refuse(where: str, error: ValidationError) -> SettingsError:
    """Return the refusal of entries. It shows no value: somebody may have put a key where its hash belongs."""
    faults = (
        f"{where}: {'.'.join(str(part) for part in fault['loc']) or 'the list'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    )
    return SettingsError("invalid_settings", "\n".join(faults))
