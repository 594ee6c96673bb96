"""Download of a job's results into a folder, several files at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from penstock.cli.progress import Progress
from penstock.client.local_files import remove_partial_files
from penstock.client.sync_client import Client
from penstock.client.threads import map_concurrently
from penstock.common.model.rest import Result


@dataclass
class Downloaded:
    """All results, those that were in the folder before, and the bytes that were downloaded."""

    results: int = 0
    present: int = 0
    bytes: int = 0


def download_results(client: Client, job: str, folder: Path, progress: Progress) -> Downloaded:
    """Save the results that a job has so far; files with the right checksum are kept as they are.

    Raises:
        LocalFileError: a name leads out of the folder, or a file cannot be written.
    """
    downloaded = Downloaded()
    lock = threading.Lock()

    def save(result: Result) -> None:
        is_new = client.download(result, folder)
        with lock:
            downloaded.results += 1
            downloaded.present += not is_new
            downloaded.bytes += result.size if is_new else 0
        progress.add_download()

    try:
        map_concurrently(save, client.results(job))
    except KeyboardInterrupt:  # the threads may be in the middle of a file
        remove_partial_files(folder)
        raise
    return downloaded
