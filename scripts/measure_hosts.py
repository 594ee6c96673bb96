"""Measure the effect of two more workers for the bottleneck, with the commands of the README, on this host.

    .venv/bin/python scripts/measure_hosts.py --broker amqp://guest:guest@localhost --photos DIR

Starts a coordinator and one worker per step, runs a job with resize, split and bilateral blur, measures images per
second, starts two more `penstock worker --steps blur`, and measures again. Without `--photos` it uses sample images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from penstock.client import Client
from penstock.local.sample_images import write_images
from penstock.local.server_process import find_free_port, stop

OPERATIONS = [["resize", "1024x768"], ["split", True], ["blur", "bilateral"]]
STEPS = ("resize", "split", "blur", "encode")
DRAWN = 24
WARM_UP_SECS = 5.0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True, help="a RabbitMQ that nothing else uses")
    parser.add_argument("--photos", type=Path, help="a folder of images (default: sample images)")
    parser.add_argument("--images", type=int, default=2_000, help="number of images of the job (default 2000)")
    parser.add_argument("--seconds", type=float, default=15.0, help="duration of each measurement (default 15)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="penstock-hosts-") as folder, ExitStack() as stack:
        inputs = copy_images(Path(folder), given.photos, given.images)
        shared = ["--broker", given.broker, "--store", (Path(folder) / "store").as_uri(), "--input-root", folder]
        port = find_free_port()
        start(stack, "coordinator", "--port", str(port), "--data", f"{folder}/data", *shared)
        for step in STEPS:
            start(stack, "worker", "--steps", step, *shared)
        client = stack.enter_context(Client(f"http://127.0.0.1:{port}"))
        while not client.is_ready():
            time.sleep(0.1)
        job = client.submit({"operations": OPERATIONS, "inputs": [{"prefix": str(inputs)}]}).id
        before = measure_rate(client, job, given.seconds)
        print(f"one worker per step: {before:.1f} images/s, bottleneck {client.job(job).bottleneck}", flush=True)
        for _ in range(2):
            start(stack, "worker", "--steps", "blur", *shared)
        after = measure_rate(client, job, given.seconds)
        print(f"three for blur: {after:.1f} images/s, {after / before:.2f}× ({os.cpu_count()} cores)")
        client.cancel(job)
    return 0


def copy_images(folder: Path, photos: Path | None, count: int) -> Path:
    """Return a folder with `count` images, which repeat those of `photos`."""
    found = (
        sorted(path for path in photos.rglob("*.jpg")) if photos else write_images(folder / "drawn", DRAWN, 1280, 960)
    )
    if not found:
        sys.exit(f"no .jpg below {photos}")
    inputs = folder / "inputs"
    inputs.mkdir()
    for index in range(count):
        (inputs / f"{index:06}.jpg").write_bytes(found[index % len(found)].read_bytes())
    return inputs


def start(stack: ExitStack, *command: str) -> None:
    """Start a Penstock command; closing the stack stops it."""
    stack.callback(stop, subprocess.Popen([sys.executable, "-m", "penstock", *command]))  # noqa: S603 (our own)


def measure_rate(client: Client, job: str, secs: float) -> float:
    """Return images per second, after a warm-up."""
    time.sleep(WARM_UP_SECS)
    done, began = client.job(job).images.done, time.monotonic()
    time.sleep(secs)
    return (client.job(job).images.done - done) / (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
