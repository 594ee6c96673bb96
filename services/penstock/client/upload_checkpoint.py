"""Uploads that were begun and not finished, noted in a folder, so that the same command goes on with them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.client.local_files import Photo

_log = logging.getLogger(__name__)


class UploadCheckpoint:
    """Remembers which upload of a server has these files: the same paths, sizes and times of change.

    Where the folder cannot be used nothing is remembered, and everything works once.
    """

    def __init__(self, folder: Path, server: str, photos: Sequence[Photo]) -> None:
        digest = hashlib.sha256(server.encode())
        for photo in photos:
            digest.update(f"\0{photo.path}\0{photo.size_bytes}\0{photo.mtime_ns}".encode(errors="surrogateescape"))
        self._path = folder.expanduser() / "uploads" / f"{digest.hexdigest()}.json"

    def recall(self) -> str | None:
        """Return the upload's id, None where there is none."""
        try:
            upload = json.loads(self._path.read_bytes())["upload"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return upload if isinstance(upload, str) else None

    def note(self, upload: str) -> None:
        """Remember an upload."""
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"upload": upload}))
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("an interruption could not be made up for: %s: %s", self._path.parent, error.strerror)

    def forget(self) -> None:
        """Let the next command begin anew."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def job_key(upload: str, document: Mapping[str, Any]) -> str:
    """Return the idempotency key of a job over an upload: the same document again is the same job."""
    text = json.dumps([upload, document], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
