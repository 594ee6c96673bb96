"""Driver of one run: submits jobs as a client does, waits for their end, and collects the final state."""

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
from audit import TERMINAL_JOBS, FinalState, Job, Submission
from client import Client, DeadlineError, form
from pika.exceptions import ChannelClosedByBroker
from system import System, all_queues, stored_keys, wait_for
from workload import Expected, JobSpec, sha256

from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE

TIMEOUT_SECS = 90.0
GARBAGE_SECS = 12.0
REQUEUE_SECS = 0.5
"""After this, RabbitMQ has requeued what a stopped consumer held."""
ALL_QUEUES = all_queues()
STEP_QUEUES = [queue for queue in ALL_QUEUES if queue not in (DEAD_LETTER_QUEUE, EVENTS_QUEUE)]
WORKING_QUEUES = [queue for queue in ALL_QUEUES if queue != DEAD_LETTER_QUEUE]
_OF_LATER_RUN = re.compile(r"\A\.run-[0-9]+/")
"""Where the results of groups are that ran again."""
_OUTCOME = re.compile(r'^penstock_images_total\{outcome="(\w+)"\} (\d+)', re.MULTILINE)


Disturbance = Callable[[System, Client], None]


@dataclass(frozen=True)
class Plan:
    """What a run does: `before` is called when a coordinator is ready, `meanwhile` after all jobs are submitted."""

    specs: Sequence[JobSpec]
    expected: Mapping[str, Expected]
    meanwhile: Disturbance | None = None
    before: Disturbance | None = None


class Run:
    """Runs one plan on a system."""

    def __init__(self, system: System, plan: Plan) -> None:
        self.system = system
        self._plan = plan
        self._client = Client([process.url for process in system.coordinators], system.restart_dead, TIMEOUT_SECS)
        self._submissions = {spec.name: Submission(plan.expected[spec.name], spec.idempotent) for spec in plan.specs}
        self._ended_before: Counter[str] = Counter()

    def execute(self) -> FinalState:
        """Submit all jobs, wait for their end and stop all processes; return the final state."""
        try:
            self._submit_all()
            jobs = self._wait_for_jobs()
            late = self._drain_workers()
            leftovers = self._wait_for_garbage_collection()
            totals, inspected = self._totals(), [self._inspect(job["id"]) for job in jobs]
        except DeadlineError as error:
            return self._observe([str(error)], self._inspect_what_is_there(), self._totals_if_ready())
        late += self.system.stop(self.system.coordinators)
        return self._observe([f"{name} did not stop" for name in late], inspected, totals, leftovers)

    def _observe(
        self, stuck: list[str], jobs: list[Job], totals: Mapping[str, int], leftovers: Sequence[str] = ()
    ) -> FinalState:
        self.system.kill_all()
        return FinalState(
            self._submissions, jobs, self._ended_before, totals, leftovers, self._count_messages(ALL_QUEUES), stuck
        )

    def _submit_all(self) -> None:
        self._client.poll("readyz", lambda: self._client.try_request("GET", "/readyz"))
        if self._plan.before is not None:
            self._plan.before(self.system, self._client)
        for spec in self._plan.specs:
            self._submit(spec)
            if spec.then == "cancel":
                self._cancel(spec)
        if self._plan.meanwhile is not None:
            self._plan.meanwhile(self.system, self._client)

    def _submit(self, spec: JobSpec) -> None:
        submission = self._submissions[spec.name]
        if spec.way == "prefix":
            document = {**spec.document, "inputs": [{"prefix": str(spec.files[0].parent)}]}
            body, content_type = json.dumps(document).encode(), "application/json"
        else:
            body, content_type = form(spec.document, spec.files)
        headers = {"Content_Type": content_type} | ({"Idempotency_Key": f"key-{spec.name}"} if spec.idempotent else {})

        def send() -> Any:
            submission.sent += 1
            answer = self._client.try_request("POST", "/v1/jobs", body, **headers)
            return answer if answer is None or answer.status != 409 else None

        answer = self._client.poll(f"POST {spec.name}", send) if spec.idempotent else send()
        if answer is not None:
            assert answer.status in (200, 202), answer.body
            submission.acknowledged.add(answer.json["id"])

    def _cancel(self, spec: JobSpec) -> None:
        submission = self._submissions[spec.name]
        (job,) = submission.acknowledged
        answer = self._client.request("POST", f"/v1/jobs/{job}/cancel")
        assert answer.status in (202, 409), answer.body
        submission.cancelled = answer.status == 202

    def _wait_for_jobs(self) -> list[dict[str, Any]]:
        """Wait for the end of all jobs, retry or delete some of them, and return those that remain."""
        for spec in self._plan.specs:
            if spec.then in ("retry", "delete"):
                (job,) = self._submissions[spec.name].acknowledged
                self._wait([job])
                self._retry(spec, job) if spec.then == "retry" else self._delete(spec, job)
        jobs = self._jobs()
        self._wait([job["id"] for job in jobs])
        return jobs

    def _jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self._client.request("GET", "/v1/jobs?limit=1000").json["jobs"]
        return jobs

    def _wait(self, jobs: Sequence[str]) -> None:
        waiting = set(jobs)

        def ended() -> bool:
            for job in sorted(waiting):
                answer = self._client.try_request("GET", f"/v1/jobs/{job}")
                if answer is not None and answer.status == 200:
                    document = answer.json
                    if document["name"] in self._submissions:
                        self._submissions[document["name"]].observe(document)
                    if document["state"] in TERMINAL_JOBS:
                        waiting.discard(job)
            return not waiting

        self._client.poll(f"the end of {len(jobs)} jobs", ended)

    def _retry(self, spec: JobSpec, job: str) -> None:
        """Retry failed images exactly once; the job's `run` says whether that has happened."""
        images = self._images(job)
        for image in images:
            if image["error"] or (image.get("is_group") and any(other["error"] for other in images)):
                self._ended_before[_outcome(image)] += 1  # the group of a retried image runs again

        def retried() -> bool:
            answer = self._client.try_request("GET", f"/v1/jobs/{job}")
            if answer is not None and answer.json["run"] == 0:
                self._client.try_request("POST", f"/v1/jobs/{job}/retry")
            return answer is not None and answer.json["run"] > 0

        self._client.poll("a retry", retried)
        self._submissions[spec.name].retried = True

    def _delete(self, spec: JobSpec, job: str) -> None:
        ended = Counter(_outcome(image) for image in self._images(job))
        answer = self._client.request("DELETE", f"/v1/jobs/{job}")
        assert answer.status in (204, 404), answer.body
        self._ended_before += ended
        self._submissions[spec.name].deleted = True

    def _images(self, job: str) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = self._client.request("GET", f"/v1/jobs/{job}/images?limit=1000").json["images"]
        return images

    def _inspect(self, job: str) -> Job:
        document = self._client.request("GET", f"/v1/jobs/{job}").json
        lines = self._client.request("GET", f"/v1/jobs/{job}/results", Accept="application/x-ndjson").body.splitlines()
        folder = self.system.deployment.store_folder / "results" / quote(job)
        stored: dict[str, str] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(path.relative_to(folder))
            shown = _OF_LATER_RUN.sub("", name)
            stored[shown if shown not in stored else name] = sha256(path)
        return Job(document, self._images(job), [json.loads(line) for line in lines if line], stored)

    def _inspect_what_is_there(self) -> list[Job]:
        """Inspect the existing jobs, although not all have ended."""
        listed = self._client.try_request("GET", "/v1/jobs?limit=1000")
        return [self._inspect(job["id"]) for job in listed.json["jobs"]] if listed else []

    def _totals_if_ready(self) -> dict[str, int]:
        return self._totals() if self._client.try_request("GET", "/metrics") else {}

    def _totals(self) -> dict[str, int]:
        text = self._client.request("GET", "/metrics").body.decode()
        return {outcome: int(count) for outcome, count in _OUTCOME.findall(text)}

    def _drain_workers(self) -> list[str]:
        """Wait for empty queues and stop the workers; return the names of those that did not stop.

        A worker requeues what it has not started. If there was any, the workers run once more.
        """
        self._client.poll("empty queues", lambda: not any(self._count_messages(WORKING_QUEUES).values()))
        late = self.system.stop(self.system.workers)
        time.sleep(REQUEUE_SECS)
        if any(self._count_messages(STEP_QUEUES).values()):
            self.system.start_again(self.system.workers)
            with suppress(DeadlineError):
                self._client.poll("workers that hold nothing", lambda: not self._count_all_messages())
            late += self.system.stop(self.system.workers)
        return late

    def _count_all_messages(self) -> int:
        """Count all messages, ready or held, except dead letters. Takes about a second."""
        lines = self.system.deployment.rabbitmq.control("list_queues", "name", "messages").splitlines()
        counts = {name: count for name, _, count in (line.partition("\t") for line in lines)}
        return sum(int(counts.get(queue, 0)) for queue in WORKING_QUEUES)

    def _count_messages(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the ready messages, which are all messages once the consumers are gone."""
        counts = {}
        with self.system.deployment.rabbitmq.channel() as channel:
            for queue in queues:
                try:
                    counts[queue] = int(channel.queue_declare(queue, passive=True).method.message_count)
                except ChannelClosedByBroker:
                    channel = channel.connection.channel()
        return counts

    def _wait_for_garbage_collection(self) -> list[str]:
        """Wait for the garbage collector; if it leaves something, for the full collection of a new coordinator."""
        if not wait_for(lambda: not self._leftovers(), 2.0):
            for process in self.system.coordinators:
                self.system.kill(process)
            self.system.restart_dead()
            wait_for(lambda: not self._leftovers(), GARBAGE_SECS)
        self._client.poll("readyz", lambda: self._client.try_request("GET", "/readyz"))
        return self._leftovers()

    def _leftovers(self) -> list[str]:
        """Return the objects and rows that no job needs."""
        try:
            rows = self._rows()
        except sqlalchemy.exc.SQLAlchemyError as error:
            return [f"no rows: {error}"]
        receiving = [
            f"row of a job that was never accepted: {row['id']}" for row in rows.values() if row["state"] == "receiving"
        ]
        return receiving + [
            key for key in stored_keys(self.system.deployment.store_folder) if not _is_needed(key, rows)
        ]

    def _rows(self) -> dict[str, dict[str, Any]]:
        url = self.system.deployment.database_url or f"sqlite:///{self.system.deployment.folder}/data/penstock.sqlite"
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT id, state, upload FROM jobs")).mappings()
            return {row["id"]: dict(row) for row in rows}


def _is_needed(key: str, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a job needs an object. All jobs have ended, so no intermediates are needed."""
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
