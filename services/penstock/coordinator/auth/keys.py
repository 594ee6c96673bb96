"""API keys: which keys the REST API accepts, and the quota of each.

A key has 256 random bits, too many to try, so a plain SHA-256 of it is stored where a password would need a slow hash.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from penstock.common.model.jobs import Duration
from penstock.common.settings import CoordinatorSettings, SettingsError
from penstock.common.wording.faults import explain

_PREFIX = "pk_"
"""Makes keys recognizable to people and to secret scanners."""

_Limit = Annotated[int | None, Field(ge=1)]


class ApiKey(BaseModel):
    """A key's entry in `PENSTOCK_API_KEYS`. The server's limits apply besides those of the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    """Jobs and uploads belong to the name, so a new key of the same name keeps them."""
    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", repr=False)]
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    """Its share of the workers among keys with open jobs, whatever their number of jobs."""
    max_priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """The highest priority of its jobs."""
    max_open_jobs: _Limit = None
    max_open_images: _Limit = None
    """Images of all its jobs that have not ended."""
    images_per_day: _Limit = None
    """Images accepted from midnight to midnight, UTC."""
    max_open_uploads: _Limit = None
    """Uploads that no job reads."""
    max_open_upload_bytes: _Limit = None
    """Bytes in uploads that no job reads, and in requests that are being received."""
    max_stored_bytes: _Limit = None
    """Bytes of its uploads and results. Jobs that were accepted before it is reached run to their end."""
    expire_after: Duration | None = None
    """The longest time for which its jobs are kept after their end."""
    admin: bool = False
    """Whether it may see and change the jobs and uploads of all keys."""


_KEYS = TypeAdapter(list[ApiKey])


@dataclass(frozen=True)
class Keys:
    """The keys that a server accepts."""

    entries: Sequence[ApiKey]

    @property
    def weights(self) -> dict[str, int]:
        """The weight of each key, by its name."""
        return {key.name: key.weight for key in self.entries}

    def find(self, token: str) -> ApiKey | None:
        """Return a token's key; None if it is unknown."""
        return self.find_hash(hash_token(token))

    def find_hash(self, digest: str) -> ApiKey | None:
        """Return the key with a hash. Every entry is compared in constant time, so that timing reveals nothing."""
        found = None
        for key in self.entries:
            if hmac.compare_digest(key.hash, digest):
                found = key
        return found


def new_token() -> str:
    """Return a new token of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return the hash under which an API key or a session's token is stored."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(name: str, **fields: object) -> tuple[str, ApiKey]:
    """Return a new token and its entry for `PENSTOCK_API_KEYS`.

    Raises:
        SettingsError: the name or a limit is invalid.
    """
    token = new_token()
    try:
        return token, ApiKey.model_validate({"name": name, "hash": hash_token(token), **fields})
    except ValidationError as error:
        raise _invalid_entry("key", error) from error


def read_keys(settings: CoordinatorSettings, address: str) -> Keys | None:
    """Return the keys of a server that listens on an address; None if it needs no key.

    Raises:
        SettingsError: the keys are invalid, or there are none and the address is not loopback.
    """
    entries = _read_entries(settings)
    if entries and settings.open:
        raise SettingsError("invalid_settings", "PENSTOCK_OPEN=true and API keys exclude each other; give one of them")
    if entries:
        return Keys(entries)
    if not settings.open and not ip_address(address).is_loopback:
        raise SettingsError(
            "invalid_settings",
            f"{address} is not loopback: give PENSTOCK_API_KEYS (`penstock key NAME` makes one),"
            " or PENSTOCK_OPEN=true to serve without keys",
        )
    return None


def _read_entries(settings: CoordinatorSettings) -> list[ApiKey]:
    entries = []
    if settings.api_keys:
        entries += _parse("PENSTOCK_API_KEYS", settings.api_keys)
    if settings.api_keys_file is not None:
        where = f"PENSTOCK_API_KEYS_FILE={settings.api_keys_file}"
        try:
            text = settings.api_keys_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError("invalid_settings", f"{where}: cannot be read: {error}") from error
        entries += _parse(where, text)
    for attribute in ("name", "hash"):
        values = [getattr(key, attribute) for key in entries]
        duplicates = [key.name for key in entries if values.count(getattr(key, attribute)) > 1]
        if duplicates:
            raise SettingsError("invalid_settings", f"API keys: two entries have the {attribute} of {duplicates[0]!r}")
    return entries


def _parse(where: str, text: str) -> list[ApiKey]:
    try:
        return _KEYS.validate_json(text)
    except ValidationError as error:
        raise _invalid_entry(where, error) from error


def _invalid_entry(where: str, error: ValidationError) -> SettingsError:
    """Return the error for invalid entries, without values: one may be a key in the place of its hash."""
    faults = (
        f"{where}: {'.'.join(str(part) for part in fault['loc']) or 'not a JSON list of keys'}: "
        + explain(fault, show_value=False)
        for fault in error.errors(include_url=False)
    )
    return SettingsError("invalid_settings", "\n".join(faults))
