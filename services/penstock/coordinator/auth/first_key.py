"""First key: an API key that a server makes for itself when it starts without any."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from penstock.common.settings import ServeSettings
from penstock.coordinator.auth.keys import make_key

_FILE = "api-keys.json"
_NAME = "first"


def with_first_key(settings: ServeSettings, announce: Callable[[str], None]) -> ServeSettings:
    """Return settings with the data folder's own key, if `first_key` asks for one and there is no other.

    It is made at the first start, when `announce` gets it; only its hash is kept. Delete the file to get a new one.

    Raises:
        OSError: the file cannot be written.
    """
    has_keys = settings.api_keys or settings.api_keys_file
    if not settings.first_key or settings.open or has_keys:
        return settings
    file = settings.data / _FILE
    if not file.exists():
        token, entry = make_key(_NAME, admin=True)
        _write(file, json.dumps([entry.model_dump(exclude_defaults=True)]))
        announce(f"API key, shown only this once: {token}")
    return settings.model_copy(update={"api_keys_file": file})


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    with open(temporary, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
