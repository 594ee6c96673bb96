"""Webhooks after a change of leader: the new one delivers what is left, and the old one takes nothing more."""

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
from penstock.coordinator.ports.repository import Image, Job, StoredPlan, WebhookEventState
from penstock.coordinator.webhooks.sender import Sender


def make_sender(repository: SqlRepository, name: str) -> Sender:
    """A webhook_sender whose events say by their URLs who sent them."""
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
        Job(job, JobState.RECEIVING, StoredPlan([{"op": "encode"}]), {}, 1.0, webhook_url=receiver.url())
    )
    repository.add_images(job, [Image(0, "a.jpg", "a", "uploads/u/0")])
    repository.accept_job(job)
    repository.take_pending(job, 1)
    repository.apply([Event(kind="finished", job=job, run=0, chunk="c", outcomes=[Outcome(id=0, state="done")])])


def senders(receiver: Receiver) -> list[tuple[str, str]]:
    """Return the job and the sender of every received event, in order."""
    jobs = [received.event["job"] for received in receiver.received]
    return [(job["id"], job["url"].split("/")[2]) for job in jobs]


def test_the_next_leader_delivers_the_events_that_the_last_one_left(
    postgres_package: PostgresServer,
) -> None:
    url = postgres_package.create_database()
    with ExitStack() as stack, running_receiver(HANG) as receiver:
        repositories = [SqlRepository(url) for _ in range(2)]
        leaderships = [PostgresLeadership(url) for _ in range(2)]
        webhook_senders = [make_sender(repository, name) for repository, name in zip(repositories, "ab", strict=True)]
        for each in (*repositories, *leaderships):
            stack.callback(each.close if isinstance(each, SqlRepository) else each.release)
        for webhook_sender in webhook_senders:
            stack.callback(webhook_sender.stop)
        assert leaderships[0].acquire(30)
        repositories[0].lead(leaderships[0].term)
        webhook_senders[0].start()
        end(repositories[0], "job-1", receiver)
        wait_until(lambda: senders(receiver) == [("job-1", "a")])
        leaderships[0].release()  # its repository and sender haven't noticed, and continue
        assert leaderships[1].acquire(30)
        repositories[1].lead(leaderships[1].term)
        end(repositories[1], "job-2", receiver)
        wait_until(lambda: repositories[1].list_webhook_events("job-1")[0].deliveries)
        webhook_senders[1].start()
        wait_until(lambda: len(receiver.received) == 3)
        for job in ("job-1", "job-2"):
            wait_until(lambda job=job: repositories[1].list_webhook_events(job)[0].state is WebhookEventState.DELIVERED)
    assert sorted(senders(receiver)[1:]) == [("job-1", "b"), ("job-2", "b")]
