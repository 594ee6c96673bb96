"""What may happen to a whole system while it works: servers that stop, processes that die or stand still."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from audit import TERMINAL_JOBS
from client import Client, OverdueError
from http_line import HttpLine
from postgres_server import PostgresServer
from rabbitmq_server import RabbitServer
from stage import Stage, wait_for

from penstock.common.model.messages import EVENTS_QUEUE, step_queue

STEPS = ("resize", "split", "blur", "encode", "pause", "trip")
STEP_BY_STEP = ("resize", "split", "blur", "encode", "pause,trip")
PAIR = ("resize,blur,trip", "split,encode,pause")
TWO = ("all", "all")
UNAVAILABLE = 503
SETTLE_SECS = 20.0


@dataclass
class Scene:
    """What a fault can get at. `line` leads to the S3 server, where there is one; `secs` is how long it lasts."""

    stage: Stage
    client: Client
    rabbitmq: RabbitServer
    postgres: PostgresServer | None = None
    line: HttpLine | None = None
    secs: float = 60.0
    chance: random.Random = field(default_factory=lambda: random.Random(4))

    def ended(self) -> bool:
        """Tell whether all jobs that are there have ended."""
        answer = self.client.once("GET", "/v1/jobs?limit=1000")
        return answer is not None and all(job["state"] in TERMINAL_JOBS for job in answer.json["jobs"])

    def wait_for_done(self, images: int) -> None:
        """Wait until so many images are done, or all that there are."""

        def enough() -> bool:
            answer = self.client.once("GET", "/v1/jobs?limit=1000")
            if answer is None:
                return False
            jobs = answer.json["jobs"]
            done = sum(job["images"]["done"] for job in jobs)
            return done >= images or all(job["state"] in TERMINAL_JOBS for job in jobs)

        with suppress(OverdueError):
            self.client.until(f"{images} images", enough)


def kill_workers(scene: Scene) -> None:
    """Kill a worker every half second or so until all is done."""
    while not scene.ended():
        time.sleep(scene.chance.uniform(0.2, 0.8))
        scene.stage.kill(scene.chance.choice(scene.stage.workers))
        scene.stage.tend()


def kill_coordinators(scene: Scene) -> None:
    """Kill each coordinator, the one that leads first, and again."""
    for images in (5, 20, 40, 60):
        scene.wait_for_done(images)
        coordinators = scene.stage.coordinators
        scene.stage.kill(coordinators[images // 20 % len(coordinators)])
        scene.stage.tend()


def restart_rabbitmq(scene: Scene) -> None:
    """Stop RabbitMQ in good order and start it again."""
    scene.wait_for_done(10)
    scene.rabbitmq.stop()
    time.sleep(1.0)
    scene.rabbitmq.start()


def kill_rabbitmq(scene: Scene) -> None:
    """Kill RabbitMQ and start it again."""
    scene.wait_for_done(10)
    scene.rabbitmq.kill()
    scene.rabbitmq.start()


def close_connections(scene: Scene) -> None:
    """Have RabbitMQ close every connection, three times."""
    for images in (5, 20, 40):
        scene.wait_for_done(images)
        scene.rabbitmq.control("close_all_connections", "--vhost", "/", "a test")


def delete_queues(scene: Scene) -> None:
    """Delete queues with all that they hold, while they are used."""
    for images, queue in ((3, step_queue("resize")), (10, step_queue("blur")), (20, EVENTS_QUEUE)):
        scene.wait_for_done(images)
        scene.rabbitmq.delete_queues(queue)


def purge_queues(scene: Scene) -> None:
    """Drop every message that waits in any queue, while the workers stand still; then let them go on."""
    wait_for(lambda: _ready(scene) > 0, SETTLE_SECS)
    with scene.rabbitmq.channel() as channel:
        for step in STEPS:
            with suppress(Exception):
                channel = channel if channel.is_open else channel.connection.channel()
                channel.queue_purge(step_queue(step))
    for role in scene.stage.workers:
        scene.stage.signal(role, signal.SIGCONT)


def kill_holder(scene: Scene) -> None:
    """Kill a worker that has chunks in its hands, and let the others go on."""
    wait_for(lambda: _ready(scene) > 0, SETTLE_SECS)
    scene.stage.kill(scene.stage.workers[-1])
    for role in scene.stage.workers:
        scene.stage.signal(role, signal.SIGCONT)


def hold_workers(scene: Scene) -> None:
    """Let the workers stand still once they consume."""
    workers = len(scene.stage.workers)
    wait_for(lambda: scene.rabbitmq.count_consumers(step_queue("resize")) == workers, SETTLE_SECS)
    for role in scene.stage.workers:
        scene.stage.signal(role, signal.SIGSTOP)


def pause_worker(scene: Scene) -> None:
    """Let a worker stand still with chunks in its hands, until after others have done them."""
    scene.wait_for_done(5)
    paused = scene.stage.workers[0]
    scene.stage.signal(paused, signal.SIGSTOP)
    until = time.monotonic() + scene.secs
    while time.monotonic() < until:
        time.sleep(0.2)
    scene.stage.signal(paused, signal.SIGCONT)


def refuse_by_store(scene: Scene) -> None:
    """Have the store answer 503 for a while."""
    assert scene.line is not None
    scene.wait_for_done(10)
    scene.line.refuse(UNAVAILABLE)
    time.sleep(min(10.0, scene.secs))
    scene.line.refuse(UNAVAILABLE, 0)


def restart_postgres(scene: Scene) -> None:
    """Stop PostgreSQL and start it again; the second time kill it."""
    assert scene.postgres is not None
    for images, end in ((5, scene.postgres.stop), (30, scene.postgres.kill)):
        scene.wait_for_done(images)
        end()
        time.sleep(1.0)
        scene.postgres.start()


def nothing(scene: Scene) -> None:
    """Do nothing."""


def _ready(scene: Scene) -> int:
    with scene.rabbitmq.channel() as channel:
        try:
            return int(channel.queue_declare(step_queue("resize"), passive=True).method.message_count)
        except Exception:
            return 0


@dataclass(frozen=True)
class Fault:
    """What happens, to which workers; `needs` names the servers without which it cannot happen."""

    name: str
    happen: Callable[[Scene], None]
    placement: Sequence[str] = PAIR
    coordinators: int = 1
    needs: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    poison: bool = False
    before: Callable[[Scene], None] | None = None
    """What happens before anything is asked for."""


PATIENT = {"PENSTOCK_MAX_ATTEMPTS": "99"}
"""A worker that is killed is no reason to suspect its image here, however often that is."""

FAULTS = (
    Fault("a picture that kills its worker", nothing, TWO, settings={"PENSTOCK_MAX_ATTEMPTS": "2"}, poison=True),
    Fault("workers killed all the time", kill_workers, ("all", *PAIR), settings=PATIENT),
    Fault("a worker stands still", pause_worker, ("all", "all"), settings=PATIENT),
    Fault("coordinator killed", kill_coordinators, STEP_BY_STEP),
    Fault("leading coordinator killed", kill_coordinators, coordinators=2, needs=frozenset({"postgresql"})),
    Fault("queues deleted", delete_queues, STEP_BY_STEP),
    Fault("queues purged", purge_queues, TWO, before=hold_workers),
    Fault("connections closed", close_connections, STEP_BY_STEP),
    Fault("RabbitMQ restarted", restart_rabbitmq),
    Fault("RabbitMQ killed", kill_rabbitmq),
    Fault("PostgreSQL restarted", restart_postgres, coordinators=2, needs=frozenset({"postgresql"})),
    Fault("store answers 503", refuse_by_store, needs=frozenset({"s3"})),
)
