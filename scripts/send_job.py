"""Submit a job to a running Penstock, wait for it, and download its results.

    .venv/bin/python scripts/send_job.py --url http://localhost:8080 --out results [PHOTO…]

Without files it draws sample images. The operations are resize, split and blur, unless `--job` names a file with a job
document. PENSTOCK_API_KEY is used if it is set. `penstock submit` does more, but draws no images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from penstock.client import Client, Job
from penstock.common.model.errors import PenstockError
from penstock.local.sample_images import write_images

DOCUMENT = {"name": "first", "operations": [["resize", "inside:512x512"], ["split", True], ["blur", "gaussian"]]}
WIDTH, HEIGHT = 1024, 768


def main(arguments: Sequence[str]) -> int:
    given = parse(arguments)
    document = json.loads(given.job.read_text()) if given.job else DOCUMENT
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-") as folder, Client(given.url) as client:
            photos = given.photos or write_images(Path(folder), given.images, WIDTH, HEIGHT)
            began = time.monotonic()
            job = client.wait(client.submit(document, photos).id, on_progress=Progress())
            seconds = time.monotonic() - began
            files = len([client.download(result, given.out) for result in client.results(job.id)])
    except PenstockError as error:
        print(f"send_job: {error.message}", file=sys.stderr)
        return 3
    print(f"Job {job.id} {job.state}: {len(photos)} images in {seconds:.1f} s, {files} results in {given.out}")
    return 0 if job.state == "succeeded" else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="files to send (default: sample images)")
    parser.add_argument("--url", required=True, help="URL of Penstock")
    parser.add_argument("--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("--job", type=Path, help="file with a job document (JSON)")
    parser.add_argument("--images", type=int, default=24, help="number of sample images (default 24)")
    return parser.parse_args(arguments)


class Progress:
    """Prints a line whenever the counts have changed."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, job: Job) -> None:
        line = f"{job.images.done} of {job.images.total} done, {job.state}"
        if line != self._shown:
            print(line, flush=True)
        self._shown = line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
