"""`penstock results`: everything that a job made, saved below a folder, several files at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from penstock.cli.transfer_progress import Reporter
from penstock.client.local_files import remove_unfinished
from penstock.client.models import Result
from penstock.client.sync_client import Client
from penstock.client.transfers import at_once


@dataclass
class Fetched:
    """What was fetched: results in all, those that were there already, and bytes that came."""

    results: int = 0
    present: int = 0
    bytes: int = 0


def fetch(client: Client, job: str, folder: Path, report: Reporter) -> Fetched:
    """Save a job's results so far; what is there with the right checksum stays as it is.

    Raises:
        LocalFileError: a name that leads out of the folder, or a file that cannot be written.
    """
    fetched = Fetched()
    lock = threading.Lock()

    def save(result: Result) -> None:
        came = client.download(result, folder)
        with lock:
            fetched.results += 1
            fetched.present += not came
            fetched.bytes += result.size if came else 0
        report.fetched()

    try:
        at_once(save, client.results(job))
    except KeyboardInterrupt:  # nobody waits for the threads
        remove_unfinished(folder)
        raise
    return fetched
