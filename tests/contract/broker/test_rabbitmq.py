"""RabbitMQ broker: lost connections, restarts, deleted queues, silence, TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from ports import free_ports
from rabbitmq_server import RabbitServer
from tcp_proxy import TcpProxy
from waiting import SECS, wait_until

from penstock.common.broker.base import QueueDepth
from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.errors import BrokenSetupError, UnavailableError
from penstock.common.model.messages import DEAD_LETTER_QUEUE
from penstock.common.settings import BrokerSettings, SettingsError

QUEUE = "penstock.step.test"
OTHER = "penstock.step.other"
Connect = Callable[..., RabbitBroker]


@pytest.fixture
def broker(connect: Connect) -> RabbitBroker:
    made = connect()
    made.declare([QUEUE])
    return made


class Traffic:
    """Publishes and consumes numbers, one by one and without a pause, until the context ends."""

    def __init__(self, connect: Connect) -> None:
        self._producer, self._consumer = connect(), connect()
        self._producer.declare([QUEUE])
        self._stopping, self._all_sent = threading.Event(), threading.Event()
        self.sent = 0
        self.seen: set[int] = set()
        self._threads = [threading.Thread(target=self._publish), threading.Thread(target=self._consume)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        self.wait_for_messages()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for_messages(self, messages: int = 50) -> None:
        """Wait until a number of further messages have been consumed."""
        goal = len(self.seen) + messages
        wait_until(lambda: len(self.seen) >= goal)

    def _publish(self) -> None:
        while not self._stopping.is_set():
            self._producer.publish(QUEUE, [b"%d" % self.sent])
            self.sent += 1
        self._all_sent.set()

    def _consume(self) -> None:
        consumer = self._consumer.consume([QUEUE], 20)
        while not self._all_sent.is_set() or len(self.seen) < self.sent:
            delivery = consumer.get(SECS if self._all_sent.is_set() else 0.1)
            if delivery is not None:
                self.seen.add(int(delivery.body))
                consumer.ack(delivery)
            elif self._all_sent.is_set():
                return


def test_no_message_is_lost_when_the_server_closes_all_connections(connect: Connect, rabbitmq: RabbitServer) -> None:
    with Traffic(connect) as traffic:
        for _ in range(2):
            rabbitmq.control("close_all_connections", "a test")
            traffic.wait_for_messages()
    assert traffic.seen == set(range(traffic.sent))


def test_no_message_is_lost_when_the_server_restarts(connect: Connect, rabbitmq: RabbitServer) -> None:
    with Traffic(connect) as traffic:
        rabbitmq.stop()
        rabbitmq.start()
        traffic.wait_for_messages()
    assert traffic.seen == set(range(traffic.sent))


def test_a_deleted_queue_is_declared_again_by_publisher_and_consumer(connect: Connect, rabbitmq: RabbitServer) -> None:
    sender, taker = connect(), connect()
    sender.declare([QUEUE, OTHER])
    consumer = taker.consume([QUEUE, OTHER], 5)
    wait_until(lambda: rabbitmq.count_consumers(QUEUE) == 1)
    for number in range(3):
        rabbitmq.delete_queues(QUEUE)
        sender.publish(QUEUE, [b"%d" % number])
        wait_until(lambda: rabbitmq.count_consumers(QUEUE) == 1)
        delivery = consumer.get(SECS)
        assert (delivery.body, delivery.queue) == (b"%d" % number, QUEUE)
        consumer.ack(delivery)
    sender.publish(OTHER, [b"other"])
    assert consumer.get(SECS).body == b"other"


def test_many_messages_for_a_deleted_queue_are_all_delivered(broker: RabbitBroker, rabbitmq: RabbitServer) -> None:
    rabbitmq.delete_queues(QUEUE)
    bodies = [b"%d" % number for number in range(2_500)]
    broker.publish(QUEUE, bodies)
    consumer = broker.consume([QUEUE], 100)
    seen = []
    while len(seen) < len(bodies):
        delivery = consumer.get(SECS)
        seen.append(delivery.body)
        consumer.ack(delivery)
    assert sorted(seen, key=int) == bodies
    assert broker.depth(QUEUE).ready == 0


def test_a_deleted_queue_counts_as_empty(broker: RabbitBroker, rabbitmq: RabbitServer) -> None:
    broker.publish(QUEUE, [b"x"])
    rabbitmq.delete_queues(QUEUE)
    assert broker.depth(QUEUE) == QueueDepth(0, 0)


def test_a_consumer_that_is_busy_longer_than_the_heartbeat_keeps_its_connection(connect: Connect) -> None:
    broker = connect(broker_heartbeat_secs=1)
    broker.declare([QUEUE])
    broker.publish(QUEUE, [b"x"])
    consumer = broker.consume([QUEUE], 1)
    delivery = consumer.get(SECS)
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        sum(range(10_000))
    consumer.ack(delivery)
    assert consumer.get(0.2) is None
    assert connect().depth(QUEUE).ready == 0


def test_a_connection_that_falls_silent_is_replaced(connect: Connect, rabbitmq: RabbitServer) -> None:
    proxy = TcpProxy(rabbitmq.port)
    broker = connect(rabbitmq.url_at(proxy.port), broker_heartbeat_secs=1, broker_connect_timeout_secs=1)
    broker.declare([QUEUE])
    proxy.pause()
    thread = threading.Thread(target=broker.publish, args=(QUEUE, [b"x"]))
    thread.start()
    wait_until(lambda: proxy.connections >= 4)  # the first two connections, and at least one more attempt of each
    proxy.resume()
    thread.join()
    assert broker.consume([QUEUE], 1).get(SECS).body == b"x"
    broker.close()
    proxy.close()


def test_settling_a_delivery_of_a_lost_connection_has_no_effect(connect: Connect, rabbitmq: RabbitServer) -> None:
    broker = connect()
    broker.declare([QUEUE])
    broker.publish(QUEUE, [b"x"])
    consumer = broker.consume([QUEUE], 2)
    lost = consumer.get(SECS)
    rabbitmq.control("close_all_connections", "a test")
    again = consumer.get(SECS)
    assert (again.body, again.attempt) == (b"x", 2)
    consumer.ack(lost)
    consumer.nack(lost)
    consumer.reject(lost, "too late")
    assert consumer.in_flight(QUEUE) == 1
    consumer.ack(again)
    consumer.close()
    assert broker.consume([QUEUE], 1).get(0.2) is None


def test_a_refused_consumer_tries_again(connect: Connect, rabbitmq: RabbitServer) -> None:
    broker = connect()
    consumer = broker.consume([QUEUE], 1)
    wait_until(lambda: rabbitmq.count_consumers(QUEUE) == 1)
    rabbitmq.delete_queues(QUEUE)
    with rabbitmq.channel() as channel:
        channel.queue_declare(QUEUE, durable=True)  # a classic queue under the name of ours
    assert consumer.get(1.5) is None
    rabbitmq.delete_queues(QUEUE)
    broker.publish(QUEUE, [b"x"])
    assert consumer.get(SECS).body == b"x"


def test_a_queue_of_another_type_is_refused_with_the_command_that_removes_it(
    connect: Connect, rabbitmq: RabbitServer
) -> None:
    with rabbitmq.channel() as channel:
        channel.queue_declare(QUEUE, durable=True)
    broker = connect()
    with pytest.raises(BrokenSetupError, match=rf"queue {QUEUE} exists with other arguments") as refused:
        broker.declare([QUEUE])
    command = refused.value.message.partition("rabbitmqctl ")[2]
    assert command == f"--vhost / delete_queue {QUEUE}"
    rabbitmq.control(*command.split())
    broker.declare([QUEUE])


def test_a_queue_that_closes_every_channel_is_logged_once(
    connect: Connect, rabbitmq: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    with rabbitmq.channel() as channel:
        channel.queue_declare(QUEUE, durable=True)
    consumer = connect().consume([QUEUE], 1)
    assert consumer.get(2.0) is None
    assert [record.message.split(";")[0] for record in caplog.records if QUEUE in record.message] == [
        f"queue {QUEUE} exists with other arguments than x-queue-type=quorum"
    ]


def test_queues_are_durable_quorum_queues_without_other_arguments(broker: RabbitBroker, rabbitmq: RabbitServer) -> None:
    broker.declare([DEAD_LETTER_QUEUE])
    rows = rabbitmq.control("list_queues", "name", "type", "durable", "arguments").splitlines()
    for queue in (QUEUE, DEAD_LETTER_QUEUE):
        [row] = [row.split("\t") for row in rows if row.startswith(f"{queue}\t")]
        assert row[1:] == ["quorum", "true", '[{"x-queue-type","quorum"}]']


def test_closing_the_broker_flushes_unconfirmed_messages(connect: Connect) -> None:
    sender = connect()
    sender.declare([QUEUE])
    for number in range(500):
        sender.publish(QUEUE, [b"%d" % number], confirm=False)
    sender.close()
    other = connect()
    wait_until(lambda: other.depth(QUEUE).ready == 500)


def test_closing_the_broker_flushes_acknowledgements(connect: Connect) -> None:
    taker, other = connect(), connect()
    taker.declare([QUEUE, OTHER])
    taker.publish(QUEUE, [b"%d" % number for number in range(5)])
    taker.publish(OTHER, [b"other"])
    consumer = taker.consume([QUEUE, OTHER], 6)
    for _ in range(4):
        consumer.ack(consumer.get(SECS))
    taker.close()
    wait_until(lambda: other.depth(QUEUE).ready + other.depth(OTHER).ready == 2)


def test_acknowledgements_may_be_out_of_order(connect: Connect) -> None:
    taker = connect()
    taker.declare([QUEUE])
    taker.publish(QUEUE, [b"%d" % number for number in range(30)])
    consumer = taker.consume([QUEUE], 30)
    deliveries = [consumer.get(SECS) for _ in range(30)]
    for delivery in deliveries[::-3] + deliveries[:10]:
        consumer.ack(delivery)
    left = {delivery.body for delivery in deliveries[10:]} - {delivery.body for delivery in deliveries[::-3]}
    consumer.close()
    again = connect().consume([QUEUE], 30)
    assert {again.get(SECS).body for _ in left} == left
    assert again.get(0.1) is None


def test_calls_to_an_unreachable_server_fail_in_time_without_showing_the_password(connect: Connect) -> None:
    proxy = TcpProxy(1)
    proxy.close()
    broker = connect(f"amqp://me:secret@127.0.0.1:{proxy.port}/%2f", broker_timeout_secs=0.5)
    calls = [
        lambda: broker.declare([QUEUE]),
        lambda: broker.publish(QUEUE, [b"x"]),
        lambda: broker.depth(QUEUE),
        lambda: broker.publish(QUEUE, [b"x"] * 20_001, confirm=False),
    ]
    for call in calls:
        with pytest.raises(
            UnavailableError, match=rf"127\.0\.0\.1:{proxy.port} is unreachable: .*Connection refused"
        ) as caught:
            call()
        assert "secret" not in caught.value.message
    assert broker.consume([QUEUE], 1).get(0.01) is None


def test_a_consumer_may_start_before_the_server(connect: Connect, rabbitmq: RabbitServer) -> None:
    [port] = free_ports(1)
    broker = connect(rabbitmq.url_at(port))
    consumer = broker.consume([QUEUE], 1)
    assert consumer.get(0.5) is None
    proxy = TcpProxy(rabbitmq.port, listen_port=port)
    broker.publish(QUEUE, [b"x"])
    assert consumer.get(SECS).body == b"x"
    broker.close()
    proxy.close()


def test_a_wrong_password_is_reported(connect: Connect, rabbitmq: RabbitServer) -> None:
    broker = connect(f"amqp://guest:secret@127.0.0.1:{rabbitmq.port}/%2f", broker_timeout_secs=1.5)
    with pytest.raises(UnavailableError, match="ACCESS_REFUSED") as caught:
        broker.declare([QUEUE])
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://me:secret@host/", "its scheme is 'http'"),
        ("amqp://me:secret@host:70000/", "Port out of range"),
        ("amqp://me:secret@host/?hartbeat=3", "Unknown URL parameter: 'hartbeat'"),
        ("amqps://me:secret@host/?cacertfile=/nowhere.pem", "No such file"),
    ],
)
def test_an_invalid_url_is_refused_without_showing_the_password(url: str, what: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RabbitBroker(url, BrokerSettings())
    assert what in caught.value.message
    assert "accepted is amqp://user:password@host:port/vhost" in caught.value.message
    assert "secret" not in caught.value.message


def test_amqps_checks_the_servers_certificate(
    connect: Connect, rabbitmq: RabbitServer, without_service: Callable[[str], None]
) -> None:
    if rabbitmq.ca is None:
        without_service("no openssl to make a certificate with")
    url = f"amqps://guest:guest@127.0.0.1:{rabbitmq.tls_port}/%2f"
    trusted = connect(f"{url}?cacertfile={rabbitmq.ca}")
    trusted.declare([QUEUE])
    trusted.publish(QUEUE, [b"x"])
    assert trusted.consume([QUEUE], 1).get(SECS).body == b"x"
    elsewhere = f"amqps://guest:guest@localhost:{rabbitmq.tls_port}/%2f?cacertfile={rabbitmq.ca}"
    for unknown in (url, elsewhere):
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            connect(unknown, broker_timeout_secs=1.0).declare([QUEUE])


def test_a_closed_broker_ends_its_threads_and_can_be_closed_again(rabbitmq: RabbitServer) -> None:
    before = threading.active_count()
    broker = RabbitBroker(rabbitmq.url, BrokerSettings())
    consumer = broker.consume([QUEUE], 1)
    broker.close()
    broker.close()
    assert consumer.get(SECS) is None
    assert threading.active_count() == before
    with pytest.raises(UnavailableError, match="closed"):
        broker.publish(QUEUE, [b"x"])
    with pytest.raises(UnavailableError, match="closed"):
        broker.publish_then([(QUEUE, b"x")], pytest.fail)
    rabbitmq.delete_queues(QUEUE)
