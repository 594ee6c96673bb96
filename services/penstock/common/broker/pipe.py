"""The memory broker over a pipe: worker processes of `penstock run` and `penstock serve` reach it so.

A worker's end (`PipeBroker`) speaks the port; the broker's end (`serve_pipe`) is one thread for each worker. When a
worker dies the pipe ends with it, and what it held goes back to the queues at once.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from penstock.common.broker.base import Delivery, QueueDepth
from penstock.common.broker.memory import MemoryBroker, MemoryConsumer
from penstock.common.model.errors import UnavailableError

_CONFIRM_SECS = 60.0


def serve_pipe(broker: MemoryBroker, connection: Connection) -> bool:
    """Answer one worker until its end of the pipe closes; return whether it has consumed from any queue.

    Runs in a thread of the broker's process.
    """
    consumers: dict[int, _PipeConsumer] = {}
    sending = threading.Lock()
    try:
        while True:
            verb, number, arguments = connection.recv()
            if verb == "consume":
                queues, prefetch = arguments
                consumer = broker.subscribe(queues, prefetch, _consumer_over(connection, sending, number))
                assert isinstance(consumer, _PipeConsumer)
                consumers[number] = consumer
            elif verb in ("ack", "nack", "reject", "close"):
                getattr(consumers[number], verb)(*arguments)
            else:
                answer = getattr(broker, verb)(*arguments)
                if number:
                    _send(connection, sending, ("answer", number, answer))
    except (EOFError, OSError):
        pass  # the worker has left, or died
    finally:
        for consumer in consumers.values():
            consumer.lose()
        connection.close()
    return bool(consumers)


class _PipeConsumer(MemoryConsumer):
    """Hands deliveries to the worker's process instead of keeping them."""

    def __init__(
        self,
        broker: MemoryBroker,
        queues: Sequence[str],
        prefetch: int,
        connection: Connection,
        sending: threading.Lock,
        number: int,
    ) -> None:
        super().__init__(broker, queues, prefetch)
        self._connection = connection
        self._sending = sending
        self._number = number

    def deliver(self, delivery: Delivery) -> None:
        _send(self._connection, self._sending, ("delivery", self._number, delivery))


def _consumer_over(
    connection: Connection, sending: threading.Lock, number: int
) -> Callable[[MemoryBroker, Sequence[str], int], _PipeConsumer]:
    return lambda broker, queues, prefetch: _PipeConsumer(broker, queues, prefetch, connection, sending, number)


def _send(connection: Connection, sending: threading.Lock, message: tuple[str, int, Any]) -> None:
    try:
        with sending:
            connection.send(message)
    except OSError:
        return  # the worker has died: its reader sees that too, and gives back all it held


def hang_up(connection: Connection) -> None:
    """End a duplex pipe for both sides, a thread that waits for its next message included."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end, suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class PipeBroker:
    """A worker's side of the pipe. `on_lost` is called, in a thread of its own, when the broker's process is gone."""

    def __init__(self, connection: Connection, on_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._sending = threading.Lock()
        self._numbers = count(1)
        self._answers: dict[int, queue.SimpleQueue[Any]] = {}
        self._consumers: dict[int, _RemoteConsumer] = {}
        self._closed = False
        threading.Thread(target=self._read, name="pipe-reader", daemon=True).start()

    def declare(self, queues: Sequence[str]) -> None:
        self._ask("declare", list(queues))

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:  # noqa: ARG002
        # Nothing to wait for: the pipe keeps the order, so an acknowledgement cannot overtake what was published
        # before it, and a broker that dies takes its queues along whether it had confirmed or not.
        self.tell("publish", 0, queue, list(bodies))

    def publish_then(
        self, messages: Sequence[tuple[str, bytes]], then: Callable[[UnavailableError | None], None]
    ) -> None:
        for name, body in messages:
            self.publish(name, [body])
        then(None)

    def consume(self, queues: Sequence[str], prefetch: int) -> _RemoteConsumer:
        number = next(self._numbers)
        self._consumers[number] = consumer = _RemoteConsumer(self, number)
        self.tell("consume", number, list(queues), prefetch)
        return consumer

    def depth(self, queue: str) -> QueueDepth:
        depth: QueueDepth = self._ask("depth", queue)
        return depth

    def purge(self, queue: str) -> int:
        dropped: int = self._ask("purge", queue)
        return dropped

    def close(self) -> None:
        for consumer in list(self._consumers.values()):
            consumer.close()
        self._closed = True
        hang_up(self._connection)

    def tell(self, verb: str, number: int, *arguments: object) -> None:
        """Send without waiting for an answer; the pipe keeps the order."""
        try:
            with self._sending:
                self._connection.send((verb, number, arguments))
        except OSError as error:
            raise UnavailableError("broker", "the broker's process is gone") from error

    def _ask(self, verb: str, *arguments: object) -> Any:
        number = next(self._numbers)
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers[number] = answer
        self.tell(verb, number, *arguments)
        try:
            return answer.get(timeout=_CONFIRM_SECS)
        except queue.Empty as error:
            raise UnavailableError("broker", f"the broker gave no answer in {_CONFIRM_SECS:g} s") from error
        finally:
            del self._answers[number]

    def _read(self) -> None:
        try:
            while True:
                kind, number, content = self._connection.recv()
                if kind == "delivery":
                    self._consumers[number].inbox.put(content)
                elif answer := self._answers.get(number):
                    answer.put(content)
        except (EOFError, OSError):
            pass
        finally:
            for consumer in list(self._consumers.values()):
                consumer.inbox.put(None)
            if not self._closed:
                self._on_lost()


class _RemoteConsumer:
    """A consumer whose deliveries come over the pipe."""

    def __init__(self, broker: PipeBroker, number: int) -> None:
        self.inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._broker = broker
        self._number = number
        self._closed = False

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        if self._closed:
            return None
        try:
            return self.inbox.get(timeout=timeout_secs)
        except queue.Empty:
            return None

    def wake(self) -> None:
        self.inbox.put(None)

    def ack(self, delivery: Delivery) -> None:
        self._broker.tell("ack", self._number, replace(delivery, body=b""))

    def nack(self, delivery: Delivery) -> None:
        self._broker.tell("nack", self._number, replace(delivery, body=b""))

    def reject(self, delivery: Delivery, reason: str) -> None:
        self._broker.tell("reject", self._number, replace(delivery, body=b""), reason)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broker.tell("close", self._number)
            self.inbox.put(None)
