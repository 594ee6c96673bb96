"""Where everything lies in the store. Keys are deterministic, so work done twice overwrites the same object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

TEMPORARY = ".tmp"
"""The part of a store's own that no key may have."""

_SPREAD = "0123456789abcdef"


def check_key(key: str) -> None:
    """Refuse what is no key, with a ValueError: the same for every store, so that all hold the same objects."""
    if not key or "\0" in key or any(part in ("", ".", "..", TEMPORARY) for part in key.split("/")):
        raise ValueError(f"{key!r} is not a key; accepted is a relative path without empty, '.' or '..' parts")


def upload_key(upload: str, index: int) -> str:
    """Return the key of one uploaded file. `upload` is shared by all jobs of one request."""
    return f"uploads/{upload}/{index}"


def upload_file_key(upload: str, file: str) -> str:
    """Return the key of one file of an upload that is sent file by file."""
    return f"uploads/{upload}/{file}"


def results_prefix(job: str, folder_url: str | None = None) -> str:
    """Return the prefix below which a job's results lie: in the store, or below a customer's folder.

    The job's id is in either, so that two jobs with the same folder never overwrite each other's results.
    """
    return f"{folder_url.rstrip('/')}/{job}" if folder_url else f"results/{job}"


def result_key(prefix: str, name: str) -> str:
    """Return the key of one result file."""
    return f"{prefix}/{name}" if prefix else name


def result_name(stem: str, part: int, extension: str) -> str:
    """Return the name of an image's result: `<stem>-<part>.<extension>`."""
    return f"{stem}-{part}.{extension}"


def work_key(job: str, chunk: str, step: int) -> str:
    """Return the key of the pixels that wait for operation `step`; it begins with a hash to spread a bucket's load."""
    digit = hashlib.blake2b(f"{job}/{chunk}".encode(), digest_size=1).hexdigest()[0]
    return f"work/{digit}/{job}/{chunk}-{step}"


def work_folders() -> Iterator[str]:
    """Yield every prefix right below which jobs have their folders of intermediates."""
    return (f"work/{digit}" for digit in _SPREAD)


def work_prefixes(job: str) -> Iterator[str]:
    """Yield every prefix below which a job's intermediates can lie."""
    return (f"{folder}/{job}" for folder in work_folders())


def resume_key(job: str, run: int, image: int) -> str:
    """Return the key of the pixels with which a retry of a failed image goes on."""
    return f"resume/{job}/{run}-{image}"


def attempts_key(job: str, run: int, image: int) -> str:
    """Return the key of the count of starts of an image whose worker died."""
    return f"work/0/{job}/attempts-{run}-{image}"


def cancellation_key(job: str) -> str:
    """Return the key whose presence says that a job was cancelled."""
    return f"cancelled/{job}"


def plan_key(job: str) -> str:
    """Return the key of a plan that is too long for a message."""
    return f"plans/{job}.json"
