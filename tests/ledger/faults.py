"""Faults of servers and processes: they stop, die or pause while jobs run."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

from audit import TERMINAL_JOBS
from client import Client, DeadlineError
from http_proxy import HttpProxy
from postgres_server import PostgresServer
from rabbitmq_server import RabbitServer
from small_disk import fill
from system import System, wait_for

from penstock.common.model.messages import EVENTS_QUEUE, step_queue

STEPS = ("resize", "split", "blur", "encode", "pause", "trip")
WORKER_PER_STEP = ("resize", "split", "blur", "encode", "pause,trip,contact-sheet")
SPLIT_STEPS = ("resize,blur,trip", "split,encode,pause,contact-sheet")
TWO_WORKERS = ("all", "all")
UNAVAILABLE = 503
SETTLE_SECS = 20.0
OUTAGE_SECS = 20.0
"""Several times as long as images may run or look lost before they are sent again; see `FAST_SETTINGS`."""
NO_MEMORY, MEMORY = "0.00001", "0.4"
"""Shares of its memory above which RabbitMQ blocks publishers: always, and its default."""


@dataclass
class FaultContext:
    """What faults act on. `s3_proxy` is in front of the S3 server, if any; `secs` is how long a fault lasts."""

    system: System
    client: Client
    rabbitmq: RabbitServer
    postgres: PostgresServer | None = None
    s3_proxy: HttpProxy | None = None
    secs: float = 60.0
    random: Random = field(default_factory=lambda: Random(4))

    @property
    def outage_secs(self) -> float:
        """How long what cannot be used stays so."""
        return min(OUTAGE_SECS, self.secs)

    def all_jobs_ended(self) -> bool:
        """Return whether all jobs have ended."""
        answer = self.client.try_request("GET", "/v1/jobs?limit=1000")
        return answer is not None and all(job["state"] in TERMINAL_JOBS for job in answer.json["jobs"])

    def wait_for_done(self, images: int) -> None:
        """Wait until a number of images are done, or all jobs have ended."""

        def enough() -> bool:
            answer = self.client.try_request("GET", "/v1/jobs?limit=1000")
            if answer is None:
                return False
            jobs = answer.json["jobs"]
            done = sum(job["images"]["done"] for job in jobs)
            return done >= images or all(job["state"] in TERMINAL_JOBS for job in jobs)

        with suppress(DeadlineError):
            self.client.poll(f"{images} images", enough)


def kill_workers(context: FaultContext) -> None:
    """Kill a worker about every half second until all jobs have ended."""
    while not context.all_jobs_ended():
        time.sleep(context.random.uniform(0.2, 0.8))
        context.system.kill(context.random.choice(context.system.workers))
        context.system.restart_dead()


def kill_coordinators(context: FaultContext) -> None:
    """Kill each coordinator twice, the leader first."""
    for images in (5, 20, 40, 60):
        context.wait_for_done(images)
        coordinators = context.system.coordinators
        context.system.kill(coordinators[images // 20 % len(coordinators)])
        context.system.restart_dead()


def restart_rabbitmq(context: FaultContext) -> None:
    """Restart RabbitMQ gracefully."""
    context.wait_for_done(10)
    context.rabbitmq.stop()
    time.sleep(1.0)
    context.rabbitmq.start()


def kill_rabbitmq(context: FaultContext) -> None:
    """Kill RabbitMQ and start it again."""
    context.wait_for_done(10)
    context.rabbitmq.kill()
    context.rabbitmq.start()


def close_connections(context: FaultContext) -> None:
    """Have RabbitMQ close all connections, three times."""
    for images in (5, 20, 40):
        context.wait_for_done(images)
        context.rabbitmq.control("close_all_connections", "--vhost", "/", "a test")


def delete_queues(context: FaultContext) -> None:
    """Delete queues with their messages while they are used."""
    for images, queue in ((3, step_queue("resize")), (10, step_queue("blur")), (20, EVENTS_QUEUE)):
        context.wait_for_done(images)
        context.rabbitmq.delete_queues(queue)


def purge_queues(context: FaultContext) -> None:
    """Purge all queues while the workers are paused; then resume the workers."""
    wait_for(lambda: _ready(context) > 0, SETTLE_SECS)
    with context.rabbitmq.channel() as channel:
        for step in STEPS:
            with suppress(Exception):
                channel = channel if channel.is_open else channel.connection.channel()
                channel.queue_purge(step_queue(step))
    for process in context.system.workers:
        context.system.signal(process, signal.SIGCONT)


def kill_worker_with_chunks(context: FaultContext) -> None:
    """Kill a worker that holds chunks, and resume the others."""
    wait_for(lambda: _ready(context) > 0, SETTLE_SECS)
    context.system.kill(context.system.workers[-1])
    for process in context.system.workers:
        context.system.signal(process, signal.SIGCONT)


def pause_workers(context: FaultContext) -> None:
    """Pause all workers once they consume."""
    workers = len(context.system.workers)
    wait_for(lambda: context.rabbitmq.count_consumers(step_queue("resize")) == workers, SETTLE_SECS)
    for process in context.system.workers:
        context.system.signal(process, signal.SIGSTOP)


def pause_one_worker(context: FaultContext) -> None:
    """Pause a worker that holds chunks, until others have processed them."""
    context.wait_for_done(5)
    paused = context.system.workers[0]
    context.system.signal(paused, signal.SIGSTOP)
    time.sleep(context.secs)
    context.system.signal(paused, signal.SIGCONT)


def fail_store(context: FaultContext) -> None:
    """Have the store answer 503 for longer than every limit."""
    assert context.s3_proxy is not None
    context.wait_for_done(10)
    context.s3_proxy.refuse(UNAVAILABLE)
    time.sleep(context.outage_secs)
    context.s3_proxy.refuse(UNAVAILABLE, 0)


def fill_store(context: FaultContext) -> None:
    """Keep the store's volume full for longer than every limit; what is deleted meanwhile makes no room."""
    context.wait_for_done(10)
    folder = context.system.deployment.store_folder / ".tmp"
    files = [folder / f"full-{number}" for number in range(int(context.outage_secs * 5))]
    for file in files:
        with suppress(OSError):
            fill(file)
        time.sleep(0.2)
    for file in files:
        file.unlink(missing_ok=True)


def lock_database(context: FaultContext) -> None:
    """Lock the database, as a tool that somebody forgot does."""
    context.wait_for_done(10)
    file = context.system.deployment.folder / "data" / "penstock.sqlite"
    with closing(sqlite3.connect(file, timeout=SETTLE_SECS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(context.outage_secs)
        connection.execute("ROLLBACK")


def block_rabbitmq(context: FaultContext) -> None:
    """Have RabbitMQ block publishers, as when its memory or disk is nearly full."""
    context.wait_for_done(10)
    with _blocked(context.rabbitmq):
        time.sleep(context.outage_secs)


@contextmanager
def _blocked(rabbitmq: RabbitServer) -> Iterator[None]:
    rabbitmq.control("set_vm_memory_high_watermark", NO_MEMORY)
    try:
        yield
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", MEMORY)


def restart_postgres(context: FaultContext) -> None:
    """Restart PostgreSQL gracefully; then kill it and start it again."""
    assert context.postgres is not None
    for images, end in ((5, context.postgres.stop), (30, context.postgres.kill)):
        context.wait_for_done(images)
        end()
        time.sleep(1.0)
        context.postgres.start()


def no_fault(context: FaultContext) -> None:
    """Do nothing."""


def _ready(context: FaultContext) -> int:
    with context.rabbitmq.channel() as channel:
        try:
            return int(channel.queue_declare(step_queue("resize"), passive=True).method.message_count)
        except Exception:
            return 0


@dataclass(frozen=True)
class Fault:
    """A fault, and the workers to run; `needs` are the kinds of servers that it requires."""

    name: str
    inject: Callable[[FaultContext], None]
    placement: Sequence[str] = SPLIT_STEPS
    coordinators: int = 1
    needs: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    poison: str = ""
    """The kind of jobs with an image that kills its worker."""
    disk: str = ""
    """Size of a disk of its own for the store, with a folder as the store."""
    prepare: Callable[[FaultContext], None] | None = None
    """Called before any job is submitted."""


MANY_ATTEMPTS = {"PENSTOCK_MAX_ATTEMPTS": "99"}
"""Workers are killed often here, and no image should fail because of that."""

FAULTS = (
    Fault(
        "an image that kills its worker",
        no_fault,
        TWO_WORKERS,
        settings={"PENSTOCK_MAX_ATTEMPTS": "2"},
        poison="poison",
    ),
    Fault(
        "an image that runs its worker out of memory",
        no_fault,
        SPLIT_STEPS,
        settings={"PENSTOCK_MAX_ATTEMPTS": "3"},
        poison="memory",
    ),
    Fault("workers killed repeatedly", kill_workers, ("all", *SPLIT_STEPS), settings=MANY_ATTEMPTS),
    Fault("a worker paused", pause_one_worker, ("all", "all"), settings=MANY_ATTEMPTS),
    Fault("coordinator killed", kill_coordinators, WORKER_PER_STEP),
    Fault("leading coordinator killed", kill_coordinators, coordinators=2, needs=frozenset({"postgresql"})),
    Fault("queues deleted", delete_queues, WORKER_PER_STEP),
    Fault("queues purged", purge_queues, TWO_WORKERS, prepare=pause_workers),
    Fault("connections closed", close_connections, WORKER_PER_STEP),
    Fault("RabbitMQ restarted", restart_rabbitmq),
    Fault("RabbitMQ killed", kill_rabbitmq),
    Fault("PostgreSQL restarted", restart_postgres, coordinators=2, needs=frozenset({"postgresql"})),
    Fault("store answers 503", fail_store, needs=frozenset({"s3"})),
    Fault("store full", fill_store, needs=frozenset({"file", "mount"}), disk="12m"),
    Fault("database locked", lock_database, needs=frozenset({"sqlite"})),
    Fault("RabbitMQ blocks publishers", block_rabbitmq),
)
