"""Remote benchmark: `penstock bench --server URL` measures a running installation through its REST API.

Images are uploaded, so the network counts, as it does for any user. All results are downloaded and compared with those
of the plain OpenCV pool on this host. Jobs are deleted afterwards.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click

from penstock.benchmark.bench.contestants import (
    CONTESTANTS,
    STALL_SECS,
    Verifier,
    Workspace,
    created_job,
    fetch_results,
    measure_latency,
    wait_for_success,
)
from penstock.benchmark.bench.report import align, percentiles_ms, show_percentiles
from penstock.benchmark.bench.workloads import WORKLOADS, ImageFolders, Workload, choose_workloads
from penstock.benchmark.http import RestClient
from penstock.common.model.errors import PenstockError
from penstock.common.settings import ClientSettings, load

IMAGES = 200
"""Default number of images per workload; they are uploaded in one request, whose size a server limits."""
WARM_UP_IMAGES = 8
LATENCY_REQUESTS = 30
LATENCY_WARM_UP = 3
_POLL_SECS = 0.05
_LATENCY_POLL_SECS = 0.01


@dataclass
class ServerFigures:
    """Seconds of each round of one workload: `upload` until the job was accepted, `total` until its end."""

    workload: Workload
    images: int
    upload: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Images per second from the request to the job's end, of the median round."""
        return self.images / median(self.total)


def run_server_bench(
    url: str,
    *,
    images: int | None = None,
    rounds: int = 3,
    photos: Path | None = None,
    workloads: Sequence[str] = (),
    latency: bool = True,
    as_json: bool = False,
    stall_secs: float = STALL_SECS,
) -> None:
    """Measure the server at `url`, and print a table or JSON to standard output; see `run_bench` for the arguments.

    Raises:
        BenchError: a job did not succeed, or its results differ from OpenCV's.
        RefusedError: the server does not accept a job.
        UnavailableError: no answer.
        PenstockError: a workload is unknown, or `photos` contains no image.
    """
    chosen = choose_workloads(workloads)
    settings = load(ClientSettings)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        RestClient(url, settings.api_key, settings.tls_ca) as client,
    ):
        client.send("GET", "/readyz")
        bench = ServerBench(client, Path(folder), photos, stall_secs)
        figures = [bench.measure(workload, images or IMAGES, rounds) for workload in chosen]
        latencies = bench.measure_latency() if latency else []
    show = show_json if as_json else show_table
    click.echo(show(url, figures, latencies))


class ServerBench:
    """Runs workloads on a server; images and reference results are kept below `folder`."""

    def __init__(self, client: RestClient, folder: Path, photos: Path | None, stall_secs: float) -> None:
        self._client = client
        self._stall_secs = stall_secs
        self._workspace = Workspace.create(folder)
        self._folders = ImageFolders(self._workspace.images, photos)
        self._verifier = Verifier()

    def measure(self, workload: Workload, images: int, rounds: int) -> ServerFigures:
        """Run a workload `rounds` times, after a warm-up.

        Raises:
            BenchError: a job did not succeed, or its results differ from OpenCV's.
        """
        inputs = self._folders.folder(workload, images)
        reference = self._make_reference(workload, inputs)
        figures = ServerFigures(workload, images)
        paths = sorted(inputs.iterdir())
        self._run(workload, paths[:WARM_UP_IMAGES])
        for number in range(1, rounds + 1):
            upload, total = self._run(workload, paths, reference)
            figures.upload.append(upload)
            figures.total.append(total)
            rate = images / total
            click.echo(f"{workload.name} round {number} of {rounds}: {rate:.1f} images/s", err=True)
        return figures

    def measure_latency(self) -> list[float]:
        """Return the seconds of single images, from the request to the results."""
        images = self._folders.distinct(WORKLOADS[0].size)
        return measure_latency(self._client, images, LATENCY_WARM_UP, LATENCY_REQUESTS, _LATENCY_POLL_SECS)

    def _make_reference(self, workload: Workload, inputs: Path) -> Path:
        out = self._workspace.work / f"reference-{workload.name}"
        out.mkdir()
        with CONTESTANTS["pool"](self._workspace) as pool:
            pool(workload, inputs, out)
        return out

    def _run(self, workload: Workload, paths: Sequence[Path], reference: Path | None = None) -> tuple[float, float]:
        """Run a workload as one job; return the seconds until it was accepted, and until its end."""
        start = time.perf_counter()
        with created_job(self._client, workload, paths) as job:
            upload = time.perf_counter() - start
            wait_for_success(self._client, job, _POLL_SECS, self._stall_secs)
            total = time.perf_counter() - start
            if reference is not None:
                self._verifier.verify(
                    "the server", reference, fetch_results(self._client, job), pixels=workload.has_same_pixels
                )
        return upload, total


def show_table(url: str, figures: Sequence[ServerFigures], latencies: Sequence[float]) -> str:
    """Return the figures as a table."""
    rows = [["workload", "images", "images/s", "upload time"]]
    rows += [
        [each.workload.title, str(each.images), f"{each.images_per_second:.1f}", f"{_upload_share(each):.0%}"]
        for each in figures
    ]
    lines = [
        url,
        "",
        *align(rows),
        "",
        "From the request to the job's end; medians of rounds; all results compared.",
    ]
    if latencies:
        lines += ["", f"One image, request to results: {show_percentiles(latencies)}."]
    return "\n".join(lines)


def show_json(url: str, figures: Sequence[ServerFigures], latencies: Sequence[float]) -> str:
    """Return all figures as one JSON object."""
    workloads = [
        {
            "name": each.workload.name,
            "title": each.workload.title,
            "images": each.images,
            "seconds": [round(value, 4) for value in each.total],
            "upload_seconds": [round(value, 4) for value in each.upload],
            "images_per_second": round(each.images_per_second, 2),
        }
        for each in figures
    ]
    return json.dumps({"server": url, "workloads": workloads, "latency": percentiles_ms(latencies)}, indent=2)


def read_server(text: str) -> str:
    """Return a server's URL without a trailing slash.

    Raises:
        PenstockError: it is not a URL.
    """
    scheme, separator, host = text.partition("://")
    if scheme not in ("http", "https") or not separator or not host.strip("/"):
        raise PenstockError("invalid_server", f"--server {text}: not a server; accepted is http://host:port")
    return text.rstrip("/")


def _upload_share(figures: ServerFigures) -> float:
    return median(figures.upload) / median(figures.total)
