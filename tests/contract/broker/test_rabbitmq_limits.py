"""RabbitMQ's limits: alarms, full queues, and the delivery limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from rabbitmq_server import RabbitServer
from waiting import SECS, wait_until

from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.errors import UnavailableError

QUEUE = "penstock.step.test"
Connect = Callable[..., RabbitBroker]


@pytest.fixture
def broker(connect: Connect) -> RabbitBroker:
    made = connect()
    made.declare([QUEUE])
    return made


@pytest.mark.parametrize(
    ("raised", "ended", "cause"),
    [
        (["set_vm_memory_high_watermark", "0"], ["set_vm_memory_high_watermark", "0.9"], "memory"),
        (["set_disk_free_limit", "900000GB"], ["set_disk_free_limit", "1MB"], "disk"),
    ],
    ids=["memory", "disk"],
)
def test_during_an_alarm_only_publishing_fails(
    connect: Connect, broker: RabbitBroker, rabbitmq: RabbitServer, raised: list[str], ended: list[str], cause: str
) -> None:
    broker.publish(QUEUE, [b"before"])
    blocked = connect(broker_timeout_secs=1.0)
    wait_until(lambda: failure_of(blocked) is None)
    rabbitmq.control(*raised)
    try:
        wait_until(lambda: failure_of(blocked) is not None)
        assert f"takes no messages: low on {cause}" in failure_of(blocked)
        blocked.publish(QUEUE, [b"at once"], confirm=False)
        consumer = blocked.consume([QUEUE], 1)
        assert consumer.get(SECS).body == b"before"
        consumer.close()
        wait_until(lambda: blocked.depth(QUEUE).ready >= 1)
    finally:
        rabbitmq.control(*ended)
    wait_until(lambda: failure_of(blocked) is None)


def failure_of(broker: RabbitBroker) -> str | None:
    try:
        broker.publish(QUEUE, [b"x"])
    except UnavailableError as error:
        return error.message
    return None


def test_messages_for_a_full_queue_are_published_when_there_is_room(
    broker: RabbitBroker, rabbitmq: RabbitServer
) -> None:
    rabbitmq.set_policy("full", QUEUE, '{"max-length": 1, "overflow": "reject-publish"}')
    try:
        publishing = threading.Thread(target=broker.publish, args=(QUEUE, [b"%d" % number for number in range(20)]))
        publishing.start()
        seen: set[bytes] = set()
        consumer = broker.consume([QUEUE], 1)
        while len(seen) < 20:
            delivery = consumer.get(SECS)
            seen.add(delivery.body)
            consumer.ack(delivery)
        publishing.join()
    finally:
        rabbitmq.control("clear_policy", "full")
    assert seen == {b"%d" % number for number in range(20)}


@pytest.fixture
def limit(rabbitmq: RabbitServer) -> Iterator[int]:
    """The delivery limit, after which the server drops a message: a default of 4.x, set by a policy on 3.10."""
    if rabbitmq.version < (4,):
        rabbitmq.set_policy("limit", QUEUE, '{"delivery-limit": 20}')
    yield 20
    if rabbitmq.version < (4,):
        rabbitmq.control("clear_policy", "limit")


def test_a_message_that_is_requeued_many_times_is_never_dropped(broker: RabbitBroker, limit: int) -> None:
    broker.publish(QUEUE, [b"x"])
    consumer = broker.consume([QUEUE], 1)
    attempts = []
    for _ in range(limit * 3):
        delivery = consumer.get(SECS)
        attempts.append(delivery.attempt)
        consumer.nack(delivery)
    assert attempts == sorted(attempts), "a copy keeps the count of attempts"
    consumer.ack(consumer.get(SECS))
    assert consumer.get(0.1) is None, "a copy replaces the message"


def test_messages_requeued_by_many_closed_consumers_are_never_dropped(connect: Connect, limit: int) -> None:
    bodies = {b"%d" % number for number in range(30)}
    broker = connect()
    broker.declare([QUEUE])
    broker.publish(QUEUE, sorted(bodies))
    for _ in range(limit * 2):
        consumer = broker.consume([QUEUE], 30)
        assert consumer.get(SECS) is not None
        consumer.close()
    consumer = broker.consume([QUEUE], 100)
    seen = set()
    while (delivery := consumer.get(1.0 if seen == bodies else SECS)) is not None:
        seen.add(delivery.body)
        consumer.ack(delivery)
    assert seen == bodies


def test_a_message_is_replaced_after_an_alarm_longer_than_the_timeout(
    connect: Connect, broker: RabbitBroker, rabbitmq: RabbitServer, limit: int
) -> None:
    broker.publish(QUEUE, [b"x"])
    consumer = connect(broker_timeout_secs=0.5).consume([QUEUE], 1)
    rabbitmq.control("set_vm_memory_high_watermark", "0")
    try:
        while (delivery := consumer.get(2.0)) is not None:
            consumer.nack(delivery)
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.9")
    assert consumer.get(SECS).body == b"x"
