"""One request for each image: `/v1/process` as a contestant, over several connections, and its latency."""

import io
import threading
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

from penstock.benchmark.bench.workloads import Workload
from penstock.benchmark.http import RestClient

CONNECTIONS = 16
_HEADERS = {"Content-Type": "image/jpeg", "Accept": "application/zip"}


def call(client: RestClient, workload: Workload, image: Path) -> bytes:
    """Send one image; return the ZIP file of its results."""
    ops = [("op", option.removeprefix("--op=")) for option in workload.options()]
    query = urlencode([*ops, ("output", workload.output), ("decode", workload.decode), ("filename", image.name)])
    return client.send("POST", f"/v1/process?{query}", image.read_bytes(), _HEADERS)


def process_by_requests(url: str, workload: Workload, inputs: Path, out: Path) -> float:
    """Send the images of a folder, and save the results; return the seconds that it took."""
    own = threading.local()
    clients: list[RestClient] = []

    def process(image: Path) -> None:
        client = getattr(own, "client", None)
        if client is None:
            client = own.client = RestClient(url)
            clients.append(client)
        with zipfile.ZipFile(io.BytesIO(call(client, workload, image))) as archive:
            for name in archive.namelist():
                (out / name).write_bytes(archive.read(name))

    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(process, sorted(inputs.iterdir())):
            pass
    seconds = time.perf_counter() - start
    for client in clients:
        client.close()
    return seconds


def measure_calls(
    client: RestClient, workload: Workload, images: Sequence[Path], warm_up: int, requests: int
) -> list[float]:
    """Return the seconds of single images, one after the other, from the request to the last byte of the response."""
    seconds = []
    for number in range(warm_up + requests):
        start = time.perf_counter()
        call(client, workload, images[number % len(images)])
        seconds.append(time.perf_counter() - start)
    return seconds[warm_up:]
