"""Webhooks when the leader changes: the next one tells what is left, and the one before takes nothing up any more."""

from __future__ import annotations

from contextlib import ExitStack

from postgres_server import PostgresServer
from waiting import wait_until
from webhook_receiver import HANG, Receiver, running_receiver

from penstock.common.model.jobs import JobState
from penstock.common.model.messages import Event, Outcome
from penstock.common.settings import WebhookSettings
from penstock.coordinator.database.backends.advisory_lock import PostgresLeadership
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import Image, Job, StoredPlan
from penstock.coordinator.ports.webhook_events import WebhookEventState
from penstock.coordinator.webhooks.sender import Sender


def make_courier(repository: SqlRepository, name: str) -> Sender:
    """A courier whose events say by their URLs who sent them."""
    settings = WebhookSettings(
        webhook_secret="the servers own secret",
        webhook_allow=("http://127.0.0.1/32",),
        webhook_first_pause_secs=0.01,
        webhook_timeout_secs=1.0,
        public_url=f"https://{name}",
    )
    return Sender.from_settings(repository, settings)


def end(repository: SqlRepository, job: str, receiver: Receiver) -> None:
    repository.create_job(
        Job(job, JobState.RECEIVING, StoredPlan.read([{"op": "encode"}]), {}, 1.0, webhook_url=receiver.url())
    )
    repository.add_images(job, [Image(0, "a.jpg", "a", "uploads/u/0")])
    repository.accept_job(job)
    repository.take_pending(job, 1)
    repository.apply([Event(kind="finished", job=job, run=0, chunk="c", outcomes=[Outcome(id=0, state="done")])])


def senders(receiver: Receiver) -> list[tuple[str, str]]:
    """Each event's job and who sent it, in the order in which they came."""
    jobs = [received.event["job"] for received in receiver.received]
    return [(job["id"], job["url"].split("/")[2]) for job in jobs]


def test_what_the_leader_before_had_in_hand_and_what_came_since_is_told_by_the_next(
    postgres_package: PostgresServer,
) -> None:
    url = postgres_package.create_database()
    with ExitStack() as stack, running_receiver(HANG) as receiver:
        repositories = [SqlRepository(url) for _ in range(2)]
        leaderships = [PostgresLeadership(url) for _ in range(2)]
        couriers = [make_courier(repository, name) for repository, name in zip(repositories, "ab", strict=True)]
        for each in (*repositories, *leaderships):
            stack.callback(each.close if isinstance(each, SqlRepository) else each.release)
        for courier in couriers:
            stack.callback(courier.stop)
        assert leaderships[0].acquire(30)
        repositories[0].lead(leaderships[0].term)
        couriers[0].start()
        end(repositories[0], "job-1", receiver)
        wait_until(lambda: senders(receiver) == [("job-1", "a")])
        leaderships[0].release()  # its repository and its courier have not noticed, and go on
        assert leaderships[1].acquire(30)
        repositories[1].lead(leaderships[1].term)
        end(repositories[1], "job-2", receiver)
        wait_until(lambda: repositories[1].list_webhook_events("job-1")[0].deliveries)
        couriers[1].start()
        wait_until(lambda: len(receiver.received) == 3)
        for job in ("job-1", "job-2"):
            wait_until(lambda job=job: repositories[1].list_webhook_events(job)[0].state is WebhookEventState.DELIVERED)
    assert sorted(senders(receiver)[1:]) == [("job-1", "b"), ("job-2", "b")]
