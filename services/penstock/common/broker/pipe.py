"""Pipe broker: the memory broker as the worker processes of `penstock run` and `penstock serve` reach it.

`PipeBroker` is the adapter in the worker's process; `serve_pipe` is its other end, one thread for each worker in the
broker's process. When a worker dies its pipe closes, and what it held is requeued at once.
"""

import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from penstock.common.broker.base import ConfirmCallback, Delivery, QueueDepth
from penstock.common.broker.inbox import Inbox
from penstock.common.broker.memory import MemoryBroker, MemoryConsumer
from penstock.common.metrics import CallCounters
from penstock.common.model.errors import UnavailableError

_ANSWER_SECS = 60.0


def serve_pipe(broker: MemoryBroker, connection: Connection) -> bool:
    """Serve one worker until its end of the pipe closes; return whether it has consumed from any queue.

    Runs in a thread of the broker's process.
    """
    consumers: dict[int, MemoryConsumer] = {}
    lock = threading.Lock()
    has_consumed = False
    try:
        while True:
            verb, number, arguments = connection.recv()
            if verb == "consume":
                has_consumed = True
                queues, prefetch = arguments
                deliver = partial(_send, connection, lock, "delivery", number)
                consumers[number] = broker.consume(queues, prefetch, deliver)
            elif verb in ("ack", "nack", "reject", "close"):
                if number in consumers:  # what a closed one held is requeued already
                    getattr(consumers[number], verb)(*arguments)
                if verb == "close":
                    consumers.pop(number, None)
            else:
                answer = getattr(broker, verb)(*arguments)
                if number:
                    _send(connection, lock, "answer", number, answer)
    except (EOFError, OSError):
        pass  # the worker has left, or died
    finally:
        for consumer in consumers.values():
            consumer.close(lost=True)
        connection.close()
    return has_consumed


def _send(connection: Connection, lock: threading.Lock, kind: str, number: int, content: Any) -> None:
    with suppress(OSError), lock:  # a worker that has died: serve_pipe notices, and requeues all it held
        connection.send((kind, number, content))


def hang_up(connection: Connection) -> None:
    """End a duplex pipe for both sides, and for a thread that waits for its next message."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end, suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class PipeBroker:
    """A worker's end of the pipe. `on_lost` is called, in a thread of its own, when the broker's process is gone."""

    def __init__(
        self, connection: Connection, on_lost: Callable[[], None], counters: CallCounters | None = None
    ) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._counters = counters or CallCounters()
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._answers: dict[int, queue.SimpleQueue[Any]] = {}
        self._consumers: dict[int, _RemoteConsumer] = {}
        self._closed = False
        threading.Thread(target=self._read, name="pipe-reader", daemon=True).start()

    def declare(self, queues: Sequence[str]) -> None:
        with self._counters.time("broker.declare"):
            self._call("declare", list(queues))

    def publish(self, queue: str, bodies: Sequence[bytes], *, confirm: bool = True) -> None:  # noqa: ARG002
        # There is nothing to wait for: the pipe keeps the order, so no acknowledgement can overtake what was published
        # before it, and if the broker's process dies, its queues are lost whether it had confirmed or not.
        with self._counters.time("broker.publish"):
            self.send("publish", 0, queue, list(bodies))

    def publish_then(self, messages: Sequence[tuple[str, bytes]], on_confirm: ConfirmCallback) -> None:
        on_confirm = self._counters.time_until_called("broker.publish", on_confirm)
        for name, body in messages:
            self.send("publish", 0, name, [body])
        on_confirm(None)

    def consume(self, queues: Sequence[str], prefetch: int) -> "_RemoteConsumer":
        number = next(self._numbers)
        self._consumers[number] = consumer = _RemoteConsumer(self, number)
        self.send("consume", number, list(queues), prefetch)
        return consumer

    def check(self) -> None:
        """See the port. Without the broker's process, this one ends too."""

    def depth(self, queue: str) -> QueueDepth:
        with self._counters.time("broker.depth"):
            depth: QueueDepth = self._call("depth", queue)
            return depth

    def close(self) -> None:
        for consumer in list(self._consumers.values()):
            consumer.close()
        self._closed = True
        hang_up(self._connection)

    def forget(self, number: int) -> None:
        """Drop a closed consumer."""
        self._consumers.pop(number, None)

    def send(self, verb: str, number: int, *arguments: object) -> None:
        """Send a request without waiting for an answer. Raises UnavailableError if the broker's process is gone."""
        try:
            with self._lock:
                self._connection.send((verb, number, arguments))
        except OSError as error:
            raise UnavailableError("broker", "the broker's process has ended") from error

    def _call(self, verb: str, *arguments: object) -> Any:
        number = next(self._numbers)
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers[number] = answer
        self.send(verb, number, *arguments)
        try:
            return answer.get(timeout=_ANSWER_SECS)
        except queue.Empty as error:
            raise UnavailableError("broker", f"the broker did not answer within {_ANSWER_SECS:g} s") from error
        finally:
            del self._answers[number]

    def _read(self) -> None:
        try:
            while True:
                kind, number, content = self._connection.recv()
                if kind == "delivery":
                    if consumer := self._consumers.get(number):
                        consumer.inbox.put(content)
                elif answer := self._answers.get(number):
                    answer.put(content)
        except (EOFError, OSError):
            pass
        finally:
            for consumer in list(self._consumers.values()):
                consumer.inbox.wake()
            if not self._closed:
                self._on_lost()


class _RemoteConsumer:
    def __init__(self, broker: PipeBroker, number: int) -> None:
        self.inbox = Inbox()
        self._broker = broker
        self._number = number
        self._closed = False

    def get(self, timeout_secs: float | None = None) -> Delivery | None:
        return self.inbox.get(timeout_secs)

    def wake(self) -> None:
        self.inbox.wake()

    def ack(self, delivery: Delivery) -> None:
        self._broker.send("ack", self._number, replace(delivery, body=b""))

    def nack(self, delivery: Delivery) -> None:
        self._broker.send("nack", self._number, replace(delivery, body=b""))

    def reject(self, delivery: Delivery, reason: str) -> None:
        self._broker.send("reject", self._number, replace(delivery, body=b""), reason)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broker.send("close", self._number)
            self.inbox.close()
            self._broker.forget(self._number)
