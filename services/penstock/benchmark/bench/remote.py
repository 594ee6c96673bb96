"""`penstock bench --server URL`: measures an installation that runs already, by nothing but its REST API.

Pictures are uploaded, so what lies between here and there counts as it does for any customer. Every result is fetched
and compared with what OpenCV, called plainly on this host, makes of the same pictures. Jobs are removed afterwards.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import click

from penstock.benchmark.bench.contestants import CONTESTANTS, Arena, BenchError
from penstock.benchmark.bench.report import align, percentiles_ms, show_percentiles
from penstock.benchmark.bench.verify import Verifier
from penstock.benchmark.bench.workloads import WORKLOADS, Pictures, Workload, choose_workloads
from penstock.benchmark.http import RefusedError, RestClient
from penstock.common.model.errors import PenstockError, UnavailableError
from penstock.common.model.jobs import TERMINAL_JOB_STATES
from penstock.common.settings import ClientSettings, load

IMAGES = 200
"""Pictures per workload unless told otherwise: they go up in one request, which a server bounds."""
WARM_UP_PICTURES = 8
LATENCY_REQUESTS = 30
LATENCY_WARM_UP = 3
_POLL_SECS = 0.05
_LATENCY_POLL_SECS = 0.01
_STANDSTILL_SECS = 180.0
_LEAVE_SECS = 10.0


@dataclass
class ServerFigures:
    """Seconds of every round of one workload: in `upload` until the job was accepted, in `total` until its end."""

    workload: Workload
    images: int
    upload: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Images a second from the request to the job's end, by the median round."""
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
) -> int:
    """Measure the server at `url`, and print a table (or JSON) to standard output; see `run_bench` for the arguments.

    Returns:
        0, or 1 where a job did not succeed or made other pictures than OpenCV.

    Raises:
        RefusedError: the server does not accept a job.
        UnavailableError: no answer.
        PenstockError: a workload that is not known, or no photograph in `photos`.
    """
    chosen = choose_workloads(workloads)
    given = load(ClientSettings)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        RestClient(url, given.api_key, given.tls_ca) as client,
    ):
        client.send("GET", "/readyz")
        bench = ServerBench(client, Path(folder), photos)
        try:
            figures = [bench.measure(workload, images or IMAGES, rounds) for workload in chosen]
            latencies = bench.measure_latency() if latency else []
        except BenchError as error:
            click.echo(f"bench: {error.message}", err=True)
            return 1
    show = show_json if as_json else show_table
    click.echo(show(url, figures, latencies))
    return 0


class ServerBench:
    """Puts workloads through a server, pictures and references below `folder`."""

    def __init__(self, client: RestClient, folder: Path, photos: Path | None) -> None:
        self._client = client
        self._folder = folder
        (folder / "pictures").mkdir()
        self._pictures = Pictures(folder / "pictures", photos)

    def measure(self, workload: Workload, images: int, rounds: int) -> ServerFigures:
        """Do a workload so many times, after a few pictures that do not count.

        Raises:
            BenchError: a job did not succeed, or its results are not OpenCV's.
        """
        pictures = self._pictures.folder(workload, images)
        reference = self._make_reference(workload, pictures)
        figures = ServerFigures(workload, images)
        verifier = Verifier()
        photos = sorted(pictures.iterdir())
        self._do(workload, photos[:WARM_UP_PICTURES])
        for number in range(1, rounds + 1):
            upload, total = self._do(workload, photos, verifier, reference)
            figures.upload.append(upload)
            figures.total.append(total)
            rate = images / total
            click.echo(f"{workload.name} round {number} of {rounds}: {rate:.1f} images/s", err=True)
        return figures

    def measure_latency(self) -> list[float]:
        """Return the seconds of single pictures, from the request to the last result's bytes, one after the other."""
        photos = self._pictures.distinct(WORKLOADS[0].side)
        seconds = [self._time_one(photos[number % len(photos)]) for number in range(LATENCY_WARM_UP + LATENCY_REQUESTS)]
        return seconds[LATENCY_WARM_UP:]

    def _make_reference(self, workload: Workload, pictures: Path) -> Path:
        """Have the plain pool make the same pictures, outside of what is timed."""
        out = self._folder / f"reference-{workload.name}"
        out.mkdir()
        with CONTESTANTS["pool"](Arena(self._folder / "pictures", self._folder)) as pool:
            pool.process(workload, pictures, out)
        return out

    def _do(
        self,
        workload: Workload,
        photos: Sequence[Path],
        verifier: Verifier | None = None,
        reference: Path | None = None,
    ) -> tuple[float, float]:
        """Put pictures through a workload; return the seconds until it was accepted, and until its end."""
        start = time.perf_counter()
        with self._job(workload, photos) as job:
            upload = time.perf_counter() - start
            self._wait(job, _POLL_SECS)
            total = time.perf_counter() - start
            if verifier is not None and reference is not None:
                verifier.verify("the server", reference, self._fetch(job))
        return upload, total

    def _time_one(self, photo: Path) -> float:
        start = time.perf_counter()
        with self._job(WORKLOADS[0], [photo]) as job:
            self._wait(job, _LATENCY_POLL_SECS)
            for _ in self._fetch(job):
                pass
            return time.perf_counter() - start

    @contextmanager
    def _job(self, workload: Workload, photos: Sequence[Path]) -> Iterator[str]:
        """Send a job, and remove it in the end, whatever became of it."""
        document = workload.document() | {"name": f"bench {workload.name}"}
        job = str(self._client.post_job(document, photos)["id"])
        try:
            yield job
        finally:
            with suppress(RefusedError, UnavailableError):
                self._remove(job)

    def _remove(self, job: str) -> None:
        with suppress(RefusedError):  # it has ended
            self._client.send("POST", f"/v1/jobs/{quote(job)}/cancel")
        deadline = time.monotonic() + _LEAVE_SECS
        while self._client.job(job)["state"] not in TERMINAL_JOB_STATES and time.monotonic() < deadline:
            time.sleep(_POLL_SECS)
        self._client.delete_job(job)

    def _wait(self, job: str, poll_secs: float) -> None:
        """Wait for a job's end.

        Raises:
            BenchError: it did not succeed, or stands still.
        """
        ended = self._client.wait(job, poll_secs=poll_secs, on_progress=_Patience().look)
        if ended["state"] != "succeeded":
            raise BenchError("job_failed", f"job {job} ended as {ended['state']}")

    def _fetch(self, job: str) -> Iterator[tuple[str, bytes]]:
        """Yield every result's name and bytes, which are those of the manifest.

        Raises:
            BenchError: a file is not what the manifest says.
        """
        for entry in self._client.results(job):
            content = self._client.fetch(entry["url"])
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise BenchError("wrong_results", f"{entry['name']} of job {job} is not what its manifest says")
            yield entry["name"], content


class _Patience:
    """Waits for a job as long as it moves."""

    def __init__(self) -> None:
        self._ended = -1
        self._moved_at = time.monotonic()

    def look(self, job: dict[str, Any]) -> None:
        """Look at a job as it is now.

        Raises:
            BenchError: no image of it has ended for minutes.
        """
        ended = job["images"]["done"] + job["images"]["failed"]
        if ended != self._ended:
            self._ended, self._moved_at = ended, time.monotonic()
        if time.monotonic() - self._moved_at > _STANDSTILL_SECS:
            raise BenchError(
                "standstill",
                f"no image of job {job['id']} ended for {_STANDSTILL_SECS:g} s; GET /v1/steps shows what holds it back",
            )


def show_table(url: str, figures: Sequence[ServerFigures], latencies: Sequence[float]) -> str:
    """Return the table of a terminal."""
    rows = [["workload", "images", "images/s", "of that upload"]]
    rows += [
        [each.workload.title, str(each.images), f"{each.images_per_second:.1f}", f"{_upload_share(each):.0%}"]
        for each in figures
    ]
    lines = [url, "", *align(rows), "", "From the request to the job's end; medians of rounds; every result compared."]
    if latencies:
        lines += ["", f"One picture, request to results: {show_percentiles(latencies)}."]
    return "\n".join(lines)


def show_json(url: str, figures: Sequence[ServerFigures], latencies: Sequence[float]) -> str:
    """Return everything measured as one JSON object."""
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
    """Return a server's URL without a slash at its end.

    Raises:
        PenstockError: it is not one.
    """
    scheme, separator, host = text.partition("://")
    if scheme not in ("http", "https") or not separator or not host.strip("/"):
        raise PenstockError("invalid_server", f"--server {text}: not a server; accepted is http://host:port")
    return text.rstrip("/")


def _upload_share(figures: ServerFigures) -> float:
    return median(figures.upload) / median(figures.total)
