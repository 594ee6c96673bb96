"""Upload checkpoint: a file with the id of an unfinished upload, so that the same command can resume it."""

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
    """The upload of these files (paths, sizes and modification times) to a server, kept in a folder.

    If the folder cannot be used, uploads work but cannot be resumed.
    """

    def __init__(self, folder: Path, server: str, files: Sequence[Photo]) -> None:
        digest = hashlib.sha256(server.encode())
        for file in files:
            digest.update(f"\0{file.path}\0{file.size_bytes}\0{file.mtime_ns}".encode(errors="surrogateescape"))
        self._path = folder.expanduser() / "uploads" / f"{digest.hexdigest()}.json"

    def load(self) -> str | None:
        """Return the upload's id, or None if none was saved."""
        try:
            upload = json.loads(self._path.read_bytes())["upload"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return upload if isinstance(upload, str) else None

    def save(self, upload: str) -> None:
        """Save an upload's id."""
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"upload": upload}))
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("upload cannot be resumed if it is interrupted: %s: %s", self._path.parent, error.strerror)

    def remove(self) -> None:
        """Remove the file, so that the next command starts a new upload."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def job_key(upload: str, document: Mapping[str, Any]) -> str:
    """Return the idempotency key of a job of an upload: the same document gives the same key."""
    text = json.dumps([upload, document], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
