"""Keys in the store. They are deterministic, so that work done twice writes the same object."""

import hashlib
import re
from collections.abc import Iterator

TEMPORARY = ".tmp"
"""Folder for a store's own temporary objects; no key may contain it."""

_SPREAD = "0123456789abcdef"
_INVALID = re.compile(rf"(?:\A|/)(?:\.\.?|{re.escape(TEMPORARY)})?(?:/|\Z)|\0")


def check_key(key: str) -> None:
    """Raise ValueError for an invalid key. Every store accepts the same keys."""
    if _INVALID.search(key):
        raise ValueError(f"{key!r} is not a key; accepted is a relative path without empty, '.' or '..' parts")


def upload_key(upload: str, file: int | str) -> str:
    """Return the key of an uploaded file. All jobs of a request share its `upload`."""
    return f"uploads/{upload}/{file}"


def results_prefix(job: str, folder_url: str | None = None) -> str:
    """Return the prefix of a job's results: in the store, or in a customer's bucket.

    Both contain the job's id, so that two jobs with the same folder never overwrite each other's results.
    """
    return f"{folder_url.rstrip('/')}/{job}" if folder_url else f"results/{job}"


def later_results_prefix(prefix: str, run: int) -> str:
    """Return the prefix of the results of groups in a job's run, which differ from those of an earlier run.

    It is a hidden folder with no other results in it. A worker that is still busy with an earlier run cannot overwrite
    them.
    """
    return f"{prefix}/.run-{run}" if run else prefix


def result_key(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def thumbnail_key(job: str, image: int, part: int | None, version: str = "") -> str:
    """Return the key of a thumbnail: of a result of an image, in a version if it may change, or of the image (None).

    It is in the folder of the job's results, hence deleted with them; no result is in a hidden folder.
    """
    which = "source" if part is None else f"{part}-{version}" if version else part
    return f"{results_prefix(job)}/.thumbnails/{image}-{which}.jpg"


def work_key(job: str, chunk: str, step: int) -> str:
    """Return the key of the intermediates for operation `step`; a hash at its start spreads the load of a bucket."""
    digit = hashlib.blake2b(f"{job}/{chunk}".encode(), digest_size=1).hexdigest()[0]
    return f"work/{digit}/{job}/{chunk}-{step}"


def work_folders() -> Iterator[str]:
    """Yield every folder that has jobs' folders of intermediates."""
    return (f"work/{digit}" for digit in _SPREAD)


def work_prefixes(job: str) -> Iterator[str]:
    """Yield every folder that may have intermediates of a job."""
    return (f"{folder}/{job}" for folder in work_folders())


def members_key(job: str, run: int, group: int) -> str:
    """Return the key of the listing of a group's images. It is among the intermediates, with which it is deleted."""
    return work_key(job, f"{run}-{group}", 0) + ".jsonl"


def resume_key(job: str, run: int, image: int, step: int) -> str:
    """Return the key of the pixels from which a retry of an image that failed in operation `step` continues."""
    return f"resume/{job}/{run}-{image}-{step}"


def attempts_key(job: str, run: int, image: int, message: bytes | None = None) -> str:
    """Return the key of the count of attempts of an image whose worker died while it had `message`.

    Without a message: the key of the count with which the image failed.
    """
    key = f"work/0/{job}/attempts-{run}-{image}"
    return key if message is None else f"{key}-{hashlib.blake2b(message, digest_size=8).hexdigest()}"


def cancellation_key(job: str) -> str:
    """Return the key of a job's cancellation marker."""
    return f"cancelled/{job}"


def plan_key(job: str) -> str:
    """Return the key of a plan that is too long for a message."""
    return f"plans/{job}.json"
