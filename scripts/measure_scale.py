"""Measure jobs of very many images: acceptance, throughput over a job, memory, reads meanwhile, and downloads.

    .venv/bin/python scripts/measure_scale.py [--images 1000000]

The images are hard links to tiny files, and the only step does nothing, so that what is measured is Penstock itself.
Each system runs a job of 1,000 images first, then the large one: `penstock serve` on SQLite with queues in memory, and
the same on PostgreSQL and RabbitMQ, which are started from Debian's packages. The tracker is measured apart, with
outcomes that are there already. CPU seconds are those of the coordinator's process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import cv2
import httpx
import numpy as np

from penstock.common.broker.memory import MemoryBroker
from penstock.common.model.jobs import JobState
from penstock.common.model.messages import EVENTS_QUEUE, Event, Outcome, Result, StepTime, write_events
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, Image, Job, StoredPlan
from penstock.coordinator.scheduling.in_flight import InFlight
from penstock.coordinator.scheduling.tracker import Tracker
from penstock.coordinator.server import relieve_collector
from penstock.local.server_process import find_free_port, serve

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support" / "servers"))
from postgres_server import running_postgres
from rabbitmq_server import running_rabbitmq

SMALL = 1_000
SMALL_JOBS = 5
PER_FOLDER = 1_000
LINKS_PER_FILE = 50_000  # ext4 allows 65,000
READ_PAUSE_SECS = 0.05
CHUNK = 8
STEP = """
from penstock.common.model.operations import Parameters
from penstock.common.registry import step

class Nothing(Parameters):
    pass

@step("nothing", params=Nothing)
def nothing(image, params):
    return image
"""
SYSTEMS = ("sqlite", "postgresql")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="images of the large job (default 20000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="worker processes (default: one per core)")
    parser.add_argument("--system", choices=SYSTEMS, action="append", help="only this one; repeat for more")
    parser.add_argument("--accept-only", action="store_true", help="measure no more than acceptance of the large job")
    given = parser.parse_args(arguments)
    relieve_collector()
    if not given.accept_only:
        took_secs, cpu_secs = measure_tracker(given.images)
        per_sec, per_cpu_sec = given.images / took_secs, given.images / cpu_secs
        print(f"tracker: {per_sec:,.0f} outcomes/s, {per_cpu_sec:,.0f} per second of CPU", flush=True)
    with tempfile.TemporaryDirectory(prefix="penstock-scale-") as name:
        folder = Path(name)
        install_step(folder / "steps")
        for count in (SMALL, given.images):
            link_images(folder / "inputs" / str(count), count)
        for system in given.system or SYSTEMS:
            with start(system, folder, given.workers) as (url, process):
                print(f"\n{system}", flush=True)
                Measurement(url, process, given.images).run(accept_only=given.accept_only)
    return 0


def install_step(folder: Path) -> None:
    """Write a package with the step, for PYTHONPATH."""
    info = folder / "nothing_step-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "nothing_step.py").write_text(STEP)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing_step\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[penstock.steps]\nnothing = nothing_step:nothing\n")


def link_images(folder: Path, count: int) -> None:
    """Create hard links to a few tiny images, a thousand in each folder."""
    pixels = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    for index in range(count):
        target = folder / f"{index // PER_FOLDER:04}" / f"{index % PER_FOLDER:03}.jpg"
        if index % LINKS_PER_FILE == 0:
            source = folder / f".{index}.jpg"  # hidden, so that it is no input
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(data)
        if index % PER_FOLDER == 0:
            target.parent.mkdir()
        target.hardlink_to(source)


@contextmanager
def start(system: str, folder: Path, workers: int) -> Iterator[tuple[str, int]]:
    """Run a server on a database and a broker; yield its URL and the coordinator's process id."""
    options = ["--data", str(folder / system), "--workers", str(workers), "--input-root", str(folder / "inputs")]
    path = os.pathsep.join(filter(None, (str(folder / "steps"), os.environ.get("PYTHONPATH"))))
    variables = {"PYTHONPATH": path}
    with ExitStack() as stack:
        if system == "postgresql":
            database = stack.enter_context(running_postgres(fsync="on", shared_buffers="256MB"))
            broker = stack.enter_context(running_rabbitmq())
            if database is None or broker is None:
                sys.exit("this needs Debian's postgresql and rabbitmq-server")
            options += ["--broker", broker.url]
            variables["PENSTOCK_DATABASE_URL"] = database.create_database().replace("+psycopg", "")
        server = serve(options, port=find_free_port(), environment=variables, log=folder / f"{system}.log")
        url, process = stack.enter_context(server)
        yield url, process.pid


@dataclass
class Readings:
    """What was seen while a job ran: progress over time, memory, and how long reads took."""

    progress: list[tuple[float, int]] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    read_secs: list[float] = field(default_factory=list)

    def rate(self, first: float, last: float) -> float:
        """Return images per second between two shares of the job."""
        total = self.progress[-1][1]
        began, ended = self._time_of(first * total), self._time_of(last * total)
        return (last - first) * total / (ended - began)

    def _time_of(self, count: float) -> float:
        times, counts = zip(*self.progress, strict=True)
        return float(np.interp(count, counts, times))


class Measurement:
    """Jobs on one server."""

    def __init__(self, url: str, process: int, images: int) -> None:
        self._http = httpx.Client(base_url=url, timeout=600)
        self._process = process
        self._images = images

    def run(self, *, accept_only: bool) -> None:
        """Run the jobs, and print a table."""
        small = [self._measure_job(SMALL) for _ in range(SMALL_JOBS)]
        cpu_secs = read_cpu_secs(self._process)
        began = time.monotonic()
        job = self._submit(self._images)
        show("accepted", f"{time.monotonic() - began:.2f} s ({read_cpu_secs(self._process) - cpu_secs:.2f} s of CPU)")
        if accept_only:
            self._http.post(f"{job['url']}/cancel")
            return
        readings = self._watch(job)
        ended = self._http.get(job["url"]).json()
        used = read_cpu_secs(self._process) - cpu_secs
        show("coordinator's CPU per image", f"{used / self._images * 1000:.3f} ms")
        tenths = (readings.rate(0.0, 0.1), readings.rate(0.45, 0.55), readings.rate(0.9, 1.0))
        show("images/s, first, middle and last tenth", " ".join(f"{rate:.0f}" for rate in tenths))
        per_image = ended["worked_seconds"] / self._images
        of_small = median(each["worked_seconds"] for each in small) / SMALL
        show(f"time per image, against {SMALL:,} images", f"{per_image / of_small:.3f}×")
        tenth = max(1, len(readings.memory_mb) // 10)
        show(
            "coordinator's memory, at a tenth, at the end, most",
            f"{readings.memory_mb[tenth - 1]:.0f} {readings.memory_mb[-1]:.0f} {max(readings.memory_mb):.0f} MB",
        )
        cuts = quantiles(readings.read_secs, n=100)
        show(
            f"GET while it runs, p50 and p99 of {len(readings.read_secs)}",
            f"{cuts[49] * 1e3:.1f} {cuts[98] * 1e3:.1f} ms",
        )
        for name, path in (("manifest", "/manifest?format=ndjson"), ("results.zip", "/results.zip")):
            show(name, self._download(job["url"] + path))

    def _submit(self, images: int) -> dict[str, Any]:
        document = {"operations": [["nothing", True]], "inputs": [{"prefix": str(images)}], "name": f"{images} images"}
        answer = self._http.post("/v1/jobs", json=document)
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        if job["images"]["total"] != images:
            sys.exit(f"{job['images']['total']} images were accepted instead of {images}")
        return job

    def _measure_job(self, images: int) -> dict[str, Any]:
        job = self._submit(images)
        self._watch(job)
        ended: dict[str, Any] = self._http.get(job["url"]).json()
        return ended

    def _watch(self, job: dict[str, Any]) -> Readings:
        """Read the job's progress, and pages of everything else about it, until it has ended."""
        readings = Readings()
        url = job["url"]
        others = (
            f"{url}/images?limit=50",
            f"{url}/results?limit=50",
            "/v1/jobs?limit=20",
            f"{url}/images?state=pending",
        )
        for turn in range(sys.maxsize):
            answer = self._timed(url, readings)
            state, counts = answer["state"], answer["images"]
            readings.progress.append((time.monotonic(), counts["done"]))
            readings.memory_mb.append(read_memory_mb(self._process))
            if state not in ("accepted", "running"):
                if state != "succeeded":
                    sys.exit(f"the job is {state}: {answer['failures']}")
                break
            self._timed(others[turn % len(others)], readings)
            time.sleep(READ_PAUSE_SECS)
        return readings

    def _timed(self, url: str, readings: Readings) -> Any:
        began = time.perf_counter()
        answer = self._http.get(url)
        readings.read_secs.append(time.perf_counter() - began)
        answer.raise_for_status()
        return answer.json()

    def _download(self, url: str) -> str:
        """Return how long a download took, how large it was, and the coordinator's memory meanwhile."""
        began, size, memory = time.monotonic(), 0, [0.0]
        with self._http.stream("GET", url) as answer:
            answer.raise_for_status()
            with sampling(lambda: memory.append(read_memory_mb(self._process))):
                for data in answer.iter_raw(1024 * 1024):
                    size += len(data)
        return f"{size / 1e6:.1f} MB in {time.monotonic() - began:.1f} s, coordinator {max(memory):.0f} MB"


@contextmanager
def sampling(sample: Callable[[], object], every_secs: float = 0.1) -> Iterator[None]:
    """Call a function again and again, in a thread, while the context lasts."""
    done = threading.Event()

    def run() -> None:
        sample()
        while not done.wait(every_secs):
            sample()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def measure_tracker(images: int) -> tuple[float, float]:
    """Return how many seconds, and seconds of CPU, the tracker needs on SQLite if all events are there already."""
    with tempfile.TemporaryDirectory(prefix="penstock-tracker-") as folder:
        repository = SqlRepository.sqlite(Path(folder) / "penstock.db")
        broker = MemoryBroker()
        broker.declare([EVENTS_QUEUE])
        plan = StoredPlan([{"op": "nothing"}, {"op": "encode"}])
        repository.create_job(Job("job", JobState.RECEIVING, plan, {}, created_at=time.time()))
        repository.add_images(
            "job", (Image(index, f"{index}.jpg", f"{index}", f"file:///{index}.jpg") for index in range(images))
        )
        job = repository.accept_job("job")
        while repository.unpack_images("job"):
            pass
        repository.take_pending("job", images)
        broker.publish(EVENTS_QUEUE, [write_events([make_event(first, images)]) for first in range(0, images, CHUNK)])
        in_flight = InFlight()
        in_flight.adopt(job, [(index, 0) for index in range(images)])
        ended = threading.Event()
        tracker = Tracker(
            repository,
            broker,
            in_flight,
            lambda applied: ended.set() if any(each.finished for each in applied) else None,
        )
        began, cpu_secs = time.monotonic(), time.process_time()
        tracker.start()
        ended.wait()
        took = time.monotonic() - began, time.process_time() - cpu_secs
        tracker.stop()
        found = repository.get_job("job", ALL_OWNERS)
        assert found is not None
        assert found.done == images
        repository.close()
        return took


def make_event(first: int, images: int) -> Event:
    """Return the event of a chunk whose images are done."""
    outcomes = [
        Outcome(
            id=image,
            state="done",
            results=[make_result(image)],
            timings=[StepTime(step=step, wait=0.001, work=0.0002) for step in range(2)],
        )
        for image in range(first, min(first + CHUNK, images))
    ]
    return Event(kind="finished", job="job", chunk=f"{first}", outcomes=outcomes, worker="w")


def make_result(image: int) -> Result:
    name = f"{image}.jpg"
    key = f"results/job/{name}"
    return Result(key=key, name=name, size=500, media_type="image/jpeg", width=8, height=8, sha256="ab" * 32)


def read_memory_mb(process: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


def read_cpu_secs(process: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(name: str, value: str) -> None:
    print(f"  {name:<52}{value}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
