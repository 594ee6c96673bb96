"""One run: asks for jobs as customers do, waits until all is quiet, and looks at what there is."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import sqlalchemy
from audit import TERMINAL_JOBS, Entry, Job, World
from client import Client, OverdueError, form
from pika.exceptions import ChannelClosedByBroker
from stage import Stage, all_queues, stored_keys, wait_for
from workload import Task, Wanted, sha256

from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE

PATIENCE_SECS = 90.0
SWEPT_SECS = 12.0
GIVEN_BACK_SECS = 0.5
"""RabbitMQ has what a consumer that left held back in its queue after this."""
ALL_QUEUES = all_queues()
STEP_QUEUES = [queue for queue in ALL_QUEUES if queue not in (DEAD_LETTER_QUEUE, EVENTS_QUEUE)]
WORKING_QUEUES = [queue for queue in ALL_QUEUES if queue != DEAD_LETTER_QUEUE]
_OUTCOME = re.compile(r'^penstock_images_total\{outcome="(\w+)"\} (\d+)', re.MULTILINE)


Disturb = Callable[[Stage, Client], None]


@dataclass(frozen=True)
class Plan:
    """What a run asks for; `before` is called when a coordinator is ready, `meanwhile` when all was asked for."""

    tasks: Sequence[Task]
    wanted: Mapping[str, Wanted]
    meanwhile: Disturb | None = None
    before: Disturb | None = None


class Run:
    """Drives one stage through a plan."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self.stage = stage
        self._plan = plan
        self._client = Client([role.url for role in stage.coordinators], stage.tend, PATIENCE_SECS)
        self._entries = {task.name: Entry(plan.wanted[task.name], task.keyed) for task in plan.tasks}
        self._before: Counter[str] = Counter()

    def play(self) -> World:
        """Ask for everything, wait for its end, end every process; return what there is."""
        try:
            self._ask()
            jobs = self._finish()
            late = self._empty_workers()
            leftovers = self._sweep()
            totals, looked = self._totals(), [self._look(job["id"]) for job in jobs]
        except OverdueError as error:
            return self._see([str(error)], self._look_anyway(), self._totals_anyway())
        late += self.stage.leave(self.stage.coordinators)
        return self._see([f"{name} did not leave" for name in late], looked, totals, leftovers)

    def _see(
        self, stuck: list[str], jobs: list[Job], totals: Mapping[str, int], leftovers: Sequence[str] = ()
    ) -> World:
        self.stage.end()
        return World(self._entries, jobs, self._before, totals, leftovers, self._count_messages(ALL_QUEUES), stuck)

    def _ask(self) -> None:
        self._client.until("readyz", lambda: self._client.once("GET", "/readyz"))
        if self._plan.before is not None:
            self._plan.before(self.stage, self._client)
        for task in self._plan.tasks:
            self._submit(task)
            if task.then == "cancel":
                self._cancel(task)
        if self._plan.meanwhile is not None:
            self._plan.meanwhile(self.stage, self._client)

    def _submit(self, task: Task) -> None:
        entry = self._entries[task.name]
        if task.way == "prefix":
            document = {**task.document, "inputs": [{"prefix": str(task.files[0].parent)}]}
            body, content_type = json.dumps(document).encode(), "application/json"
        else:
            body, content_type = form(task.document, task.files)
        headers = {"Content_Type": content_type} | ({"Idempotency_Key": f"key-{task.name}"} if task.keyed else {})

        def send() -> Any:
            entry.sent += 1
            answer = self._client.once("POST", "/v1/jobs", body, **headers)
            return answer if answer is None or answer.status != 409 else None

        answer = self._client.until(f"POST {task.name}", send) if task.keyed else send()
        if answer is not None:
            assert answer.status in (200, 202), answer.body
            entry.acknowledged.add(answer.json["id"])

    def _cancel(self, task: Task) -> None:
        entry = self._entries[task.name]
        (job,) = entry.acknowledged
        answer = self._client.insist("POST", f"/v1/jobs/{job}/cancel")
        assert answer.status in (202, 409), answer.body
        entry.cancelled = answer.status == 202

    def _finish(self) -> list[dict[str, Any]]:
        """See every job to its end, and do with it what is to be done then; return the jobs that there are."""
        for task in self._plan.tasks:
            if task.then in ("retry", "delete"):
                (job,) = self._entries[task.name].acknowledged
                self._wait([job])
                self._retry(task, job) if task.then == "retry" else self._delete(task, job)
        jobs = self._jobs()
        self._wait([job["id"] for job in jobs])
        return jobs

    def _jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self._client.insist("GET", "/v1/jobs?limit=1000").json["jobs"]
        return jobs

    def _wait(self, jobs: Sequence[str]) -> None:
        waiting = set(jobs)

        def ended() -> bool:
            for job in sorted(waiting):
                answer = self._client.once("GET", f"/v1/jobs/{job}")
                if answer is not None and answer.status == 200:
                    shown = answer.json
                    if shown["name"] in self._entries:
                        self._entries[shown["name"]].see(shown)
                    if shown["state"] in TERMINAL_JOBS:
                        waiting.discard(job)
            return not waiting

        self._client.until(f"the end of {len(jobs)} jobs", ended)

    def _retry(self, task: Task, job: str) -> None:
        """Retry failed images once: whether that has happened, the job's number of runs tells."""
        for image in self._images(job):
            if image["error"]:
                self._before[image["error"]["code"]] += 1

        def retried() -> bool:
            answer = self._client.once("GET", f"/v1/jobs/{job}")
            if answer is not None and answer.json["run"] == 0:
                self._client.once("POST", f"/v1/jobs/{job}/retry")
            return answer is not None and answer.json["run"] > 0

        self._client.until("a retry", retried)
        self._entries[task.name].retried = True

    def _delete(self, task: Task, job: str) -> None:
        ended = Counter(_outcome(image) for image in self._images(job))
        answer = self._client.insist("DELETE", f"/v1/jobs/{job}")
        assert answer.status in (204, 404), answer.body
        self._before += ended
        self._entries[task.name].deleted = True

    def _images(self, job: str) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = self._client.insist("GET", f"/v1/jobs/{job}/images?limit=1000").json["images"]
        return images

    def _look(self, job: str) -> Job:
        shown = self._client.insist("GET", f"/v1/jobs/{job}").json
        lines = self._client.insist("GET", f"/v1/jobs/{job}/results", Accept="application/x-ndjson").body.splitlines()
        folder = self.stage.place.store_folder / "results" / quote(job)
        stored = {path.name: sha256(path) for path in folder.glob("*")}
        return Job(shown, self._images(job), [json.loads(line) for line in lines if line], stored)

    def _look_anyway(self) -> list[Job]:
        """Look at what there is, although not everything has come to an end."""
        listed = self._client.once("GET", "/v1/jobs?limit=1000")
        return [self._look(job["id"]) for job in listed.json["jobs"]] if listed else []

    def _totals_anyway(self) -> dict[str, int]:
        return self._totals() if self._client.once("GET", "/metrics") else {}

    def _totals(self) -> dict[str, int]:
        text = self._client.insist("GET", "/metrics").body.decode()
        return {outcome: int(count) for outcome, count in _OUTCOME.findall(text)}

    def _empty_workers(self) -> list[str]:
        """Wait until no message waits for anybody, and let the workers leave; return those that didn't.

        A worker gives back what it holds and has not started. Where there was any such, workers come once more.
        """
        self._client.until("empty queues", lambda: not any(self._count_messages(WORKING_QUEUES).values()))
        late = self.stage.leave(self.stage.workers)
        time.sleep(GIVEN_BACK_SECS)
        if any(self._count_messages(STEP_QUEUES).values()):
            self.stage.come_back(self.stage.workers)
            with suppress(OverdueError):
                self._client.until("workers with nothing in their hands", lambda: not self._count_held())
            late += self.stage.leave(self.stage.workers)
        return late

    def _count_held(self) -> int:
        """Count the messages that wait or are in anybody's hands, but for dead letters; takes about a second."""
        lines = self.stage.place.rabbitmq.control("list_queues", "name", "messages").splitlines()
        counts = {name: count for name, _, count in (line.partition("\t") for line in lines)}
        return sum(int(counts.get(queue, 0)) for queue in WORKING_QUEUES)

    def _count_messages(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the messages that are ready: all, once every consumer is gone."""
        counts = {}
        with self.stage.place.rabbitmq.channel() as channel:
            for queue in queues:
                try:
                    counts[queue] = int(channel.queue_declare(queue, passive=True).method.message_count)
                except ChannelClosedByBroker:
                    channel = channel.connection.channel()
        return counts

    def _sweep(self) -> list[str]:
        """Wait for the sweeps; where they leave something, for the thorough one that a new coordinator begins with."""
        if not wait_for(lambda: not self._leftovers(), 2.0):
            for role in self.stage.coordinators:
                self.stage.kill(role)
            self.stage.tend()
            wait_for(lambda: not self._leftovers(), SWEPT_SECS)
        self._client.until("readyz", lambda: self._client.once("GET", "/readyz"))
        return self._leftovers()

    def _leftovers(self) -> list[str]:
        """Return the objects and rows that no job needs."""
        try:
            rows = self._rows()
        except sqlalchemy.exc.SQLAlchemyError as error:
            return [f"no rows: {error}"]
        receiving = [
            f"row of a job that never came: {row['id']}" for row in rows.values() if row["state"] == "receiving"
        ]
        return receiving + [key for key in stored_keys(self.stage.place.store_folder) if not _is_needed(key, rows)]

    def _rows(self) -> dict[str, dict[str, Any]]:
        url = self.stage.place.database_url or f"sqlite:///{self.stage.place.folder}/data/penstock.sqlite"
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT id, state, upload FROM jobs")).mappings()
            return {row["id"]: dict(row) for row in rows}


def _is_needed(key: str, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether some job needs an object. All have ended, so no intermediates are needed."""
    kind, _, rest = key.partition("/")
    owner = rows.get(rest.partition("/")[0].removesuffix(".json"))
    if kind == "uploads":
        return any(row["upload"] == rest.partition("/")[0] for row in rows.values())
    if kind == "resume":
        return owner is not None and owner["state"] in ("partial", "failed")
    if kind == "cancelled":
        return owner is not None and owner["state"] == "cancelled"
    return kind in ("results", "plans") and owner is not None


def _outcome(image: Mapping[str, Any]) -> str:
    return str(image["error"]["code"] if image["error"] else image["state"])
