"""Contract of the broker port, for every adapter."""

from __future__ import annotations

import json
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from rabbitmq_server import RabbitServer
from tcp_proxy import TcpProxy
from waiting import SECS, wait_until

from penstock.common.broker.base import Broker, QueueDepth
from penstock.common.broker.memory import MemoryBroker
from penstock.common.broker.pipe import PipeBroker, hang_up, serve_pipe
from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.messages import DEAD_LETTER_QUEUE
from penstock.common.settings import BrokerSettings

QUEUE = "penstock.step.test"
OTHER = "penstock.step.other"


@dataclass
class Setup:
    """A broker to test. `connect` opens another connection to its queues, and returns a function that kills it.

    `counts_all_returns`: the server also counts requeued messages as attempts, as RabbitMQ before 4.3 does.
    """

    broker: Broker
    connect: Callable[[], tuple[Broker, Callable[[], None]]]
    counts_all_returns: bool = False


def memory(_: pytest.FixtureRequest) -> Iterator[Setup]:
    broker = MemoryBroker()

    def connect() -> tuple[Broker, Callable[[], None]]:
        consumers = []

        class Tracking(MemoryBroker):
            def __init__(self) -> None:
                self.__dict__ = broker.__dict__

            def consume(self, queues, prefetch):
                consumers.append(broker.consume(queues, prefetch))
                return consumers[-1]

        return Tracking(), lambda: [consumer.close(lost=True) for consumer in consumers]

    yield Setup(broker, connect)
    broker.close()


def pipe(_: pytest.FixtureRequest) -> Iterator[Setup]:
    core = MemoryBroker()
    threads = []

    def connect() -> tuple[Broker, Callable[[], None]]:
        here, there = multiprocessing.Pipe()
        thread = threading.Thread(target=serve_pipe, args=(core, here), daemon=True)
        thread.start()
        threads.append(thread)
        client = PipeBroker(there, on_lost=lambda: None)
        return client, lambda: (hang_up(there), thread.join(SECS))

    broker, end = connect()
    ends = [end]

    def connect_more() -> tuple[Broker, Callable[[], None]]:
        client, kill = connect()
        ends.append(kill)
        return client, kill

    yield Setup(broker, connect_more)
    broker.close()
    for kill in ends:
        kill()
    assert not any(thread.is_alive() for thread in threads)


def rabbitmq_package(request: pytest.FixtureRequest) -> Iterator[Setup]:
    return on_rabbitmq(request.getfixturevalue("rabbitmq_package"))


def rabbitmq_image(request: pytest.FixtureRequest) -> Iterator[Setup]:
    return on_rabbitmq(request.getfixturevalue("rabbitmq_image"))


def on_rabbitmq(server: RabbitServer) -> Iterator[Setup]:
    brokers = []

    def connect(port: int) -> Broker:
        brokers.append(RabbitBroker(server.url_at(port), BrokerSettings()))
        return brokers[-1]

    def connect_more() -> tuple[Broker, Callable[[], None]]:
        proxy = TcpProxy(server.port)

        def kill() -> None:
            left = server.count_consumers(QUEUE) - 1
            proxy.close()
            wait_until(lambda: server.count_consumers(QUEUE) <= left)

        return connect(proxy.port), kill

    yield Setup(connect(server.port), connect_more, counts_all_returns=server.version < (4, 3))
    for broker in brokers:
        broker.close()
    server.delete_queues(QUEUE, OTHER, DEAD_LETTER_QUEUE)


@pytest.fixture(params=[memory, pipe, rabbitmq_package, rabbitmq_image], ids=lambda factory: factory.__name__)
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    setups = request.param(request)
    made = next(setups)
    made.broker.declare([QUEUE, OTHER, DEAD_LETTER_QUEUE])
    yield made
    for _ in setups:
        pass


@pytest.fixture
def broker(setup: Setup) -> Broker:
    return setup.broker


def wait_for_depth(broker: Broker, queue: str, ready: int, in_flight: int) -> None:
    deadline = time.monotonic() + SECS
    while (depth := broker.depth(queue)) != QueueDepth(ready, in_flight, depth.consumers):
        assert time.monotonic() < deadline, f"{queue} stayed at {depth}, not {ready} ready and {in_flight} in flight"
        time.sleep(0.005)


def test_messages_are_delivered_in_order(broker: Broker) -> None:
    broker.publish(QUEUE, [b"1", b"2"])
    broker.publish(QUEUE, [b"3"])
    consumer = broker.consume([QUEUE], 10)
    assert [consumer.get(SECS).body for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_publication_to_several_queues_is_confirmed_once(broker: Broker) -> None:
    confirms = queue.SimpleQueue()
    broker.publish_then([(QUEUE, b"1"), (OTHER, b"2"), (QUEUE, b"3")], confirms.put)
    assert confirms.get(timeout=SECS) is None
    assert [broker.consume([QUEUE], 10).get(SECS).body, broker.consume([OTHER], 10).get(SECS).body] == [b"1", b"2"]
    with pytest.raises(queue.Empty):
        confirms.get(timeout=0.01)


def test_a_queue_that_does_not_exist_has_no_messages(broker: Broker) -> None:
    """Such as that of a step that was uninstalled while a job of it ran."""
    assert broker.depth(f"{QUEUE}.missing") == QueueDepth(0, 0, 0)


def test_a_delivery_may_be_acknowledged_in_the_confirm_callback(broker: Broker) -> None:
    broker.publish(QUEUE, [b"1"])
    consumer = broker.consume([QUEUE], 1)
    delivery = consumer.get(SECS)
    broker.publish_then([(OTHER, b"2")], lambda error: consumer.ack(delivery) if error is None else None)
    wait_for_depth(broker, QUEUE, 0, 0)
    wait_for_depth(broker, OTHER, 1, 0)


def test_a_first_delivery_has_attempt_one_and_names_its_queue(broker: Broker) -> None:
    broker.publish(QUEUE, [b"x"])
    delivery = broker.consume([QUEUE], 1).get(SECS)
    assert (delivery.attempt, delivery.queue) == (1, QUEUE)


def test_get_returns_none_after_the_timeout(broker: Broker) -> None:
    assert broker.consume([QUEUE], 1).get(0.01) is None


def test_a_waiting_consumer_gets_a_message_that_is_published_later(broker: Broker) -> None:
    consumer = broker.consume([QUEUE], 1)
    timer = threading.Timer(0.05, broker.publish, (QUEUE, [b"late"]))
    timer.start()
    assert consumer.get(SECS).body == b"late"
    timer.join()


def test_wake_ends_a_waiting_get(broker: Broker) -> None:
    consumer = broker.consume([QUEUE], 1)
    timer = threading.Timer(0.05, consumer.wake)
    timer.start()
    assert consumer.get(SECS * 6) is None
    timer.join()
    broker.publish(QUEUE, [b"after"])
    assert consumer.get(SECS).body == b"after"


def test_a_consumer_holds_at_most_prefetch_messages(broker: Broker) -> None:
    broker.publish(QUEUE, [b"1", b"2", b"3"])
    consumer = broker.consume([QUEUE], 2)
    first = consumer.get(SECS)
    consumer.get(SECS)
    assert consumer.get(0.05) is None
    wait_for_depth(broker, QUEUE, 1, 2)
    consumer.ack(first)
    assert consumer.get(SECS).body == b"3"


def test_an_acknowledged_message_is_removed(setup: Setup) -> None:
    setup.broker.publish(QUEUE, [b"x"])
    consumer = setup.broker.consume([QUEUE], 1)
    consumer.ack(consumer.get(SECS))
    consumer.close()
    wait_for_depth(setup.broker, QUEUE, 0, 0)


def test_only_the_first_settlement_of_a_delivery_counts(broker: Broker) -> None:
    broker.publish(QUEUE, [b"x"])
    consumer = broker.consume([QUEUE], 1)
    delivery = consumer.get(SECS)
    consumer.ack(delivery)
    consumer.nack(delivery)
    consumer.ack(delivery)
    wait_for_depth(broker, QUEUE, 0, 0)


def test_a_requeued_message_is_delivered_first_with_the_same_attempt(setup: Setup) -> None:
    setup.broker.publish(QUEUE, [b"1", b"2"])
    consumer = setup.broker.consume([QUEUE], 1)
    consumer.nack(consumer.get(SECS))
    again = consumer.get(SECS)
    assert (again.body, again.attempt) == (b"1", 1 + setup.counts_all_returns)


def test_a_rejected_message_goes_to_the_dead_letter_queue_with_the_reason(broker: Broker) -> None:
    broker.publish(QUEUE, [b"\xff not json"])
    consumer = broker.consume([QUEUE], 1)
    consumer.reject(consumer.get(SECS), "not JSON")
    letter = json.loads(broker.consume([DEAD_LETTER_QUEUE], 1).get(SECS).body)
    assert letter == {"queue": QUEUE, "reason": "not JSON", "body": "\\xff not json"}
    wait_for_depth(broker, QUEUE, 0, 0)


def test_closing_a_consumer_requeues_its_messages_in_order_with_the_same_attempt(setup: Setup) -> None:
    setup.broker.publish(QUEUE, [b"1", b"2", b"3"])
    consumer = setup.broker.consume([QUEUE], 2)
    consumer.get(SECS)
    wait_for_depth(setup.broker, QUEUE, 1, 2)
    consumer.close()
    assert consumer.get(0.01) is None
    other = setup.broker.consume([QUEUE], 3)
    got = [other.get(SECS) for _ in range(3)]
    back = 1 + setup.counts_all_returns
    assert [(delivery.body, delivery.attempt) for delivery in got] == [(b"1", back), (b"2", back), (b"3", 1)]


def test_messages_of_a_lost_consumer_are_requeued_with_raised_attempts(setup: Setup) -> None:
    setup.broker.publish(QUEUE, [b"1", b"2", b"3"])
    doomed, kill = setup.connect()
    held = doomed.consume([QUEUE], 2)
    held.get(SECS)
    wait_for_depth(doomed, QUEUE, 1, 2)  # on that connection: not every broker sees the consumers of others
    kill()
    consumer = setup.broker.consume([QUEUE], 3)
    got = [consumer.get(SECS) for _ in range(3)]
    assert [(delivery.body, delivery.attempt) for delivery in got] == [(b"1", 2), (b"2", 2), (b"3", 1)]


def test_attempts_rise_with_every_lost_consumer(setup: Setup) -> None:
    setup.broker.publish(QUEUE, [b"x"])
    for expected in (1, 2, 3):
        doomed, kill = setup.connect()
        assert doomed.consume([QUEUE], 1).get(SECS).attempt == expected
        kill()


def test_consumers_of_one_queue_take_turns(setup: Setup) -> None:
    first = setup.broker.consume([QUEUE], 2)
    second = setup.connect()[0].consume([QUEUE], 2)
    setup.broker.publish(QUEUE, [b"1", b"2", b"3", b"4"])
    assert all(consumer.get(SECS) is not None for consumer in (first, second, first, second))


def test_one_consumer_serves_several_queues_within_one_prefetch(broker: Broker) -> None:
    consumer = broker.consume([QUEUE, OTHER], 1)
    broker.publish(QUEUE, [b"a"])
    broker.publish(OTHER, [b"b"])
    first = consumer.get(SECS)
    assert consumer.get(0.05) is None
    consumer.ack(first)
    assert {first.body, consumer.get(SECS).body} == {b"a", b"b"}


def test_depth_counts_the_consumers_of_all_connections(setup: Setup) -> None:
    assert setup.broker.depth(QUEUE).consumers == 0
    consumer = setup.broker.consume([QUEUE, OTHER], 1)
    doomed, kill = setup.connect()
    doomed.consume([QUEUE], 1)
    wait_until(lambda: setup.broker.depth(QUEUE).consumers == 2)
    wait_until(lambda: setup.broker.depth(OTHER).consumers == 1)
    kill()
    wait_until(lambda: setup.broker.depth(QUEUE).consumers == 1)
    consumer.close()
    wait_until(lambda: setup.broker.depth(QUEUE).consumers == 0)


def test_declaring_a_queue_again_keeps_its_messages(broker: Broker) -> None:
    broker.publish(QUEUE, [b"x"])
    broker.declare([QUEUE])
    wait_for_depth(broker, QUEUE, 1, 0)


def test_no_message_is_lost_or_doubled_between_many_publishers_and_consumers(setup: Setup) -> None:
    total, seen, lock = 2_000, [], threading.Lock()

    def publish(start: int) -> None:
        for number in range(start, total, 4):
            setup.broker.publish(QUEUE, [b"%d" % number], confirm=number % 2 == 0)

    def consume(broker: Broker) -> None:
        consumer = broker.consume([QUEUE], 3)
        while (delivery := consumer.get(1.0)) is not None:
            with lock:
                seen.append(int(delivery.body))
            consumer.ack(delivery)

    brokers = [setup.broker, setup.connect()[0], setup.connect()[0]]
    threads = [threading.Thread(target=publish, args=(start,)) for start in range(4)]
    threads += [threading.Thread(target=consume, args=(broker,)) for broker in brokers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(total))
    wait_for_depth(setup.broker, QUEUE, 0, 0)
