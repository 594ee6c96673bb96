"""Connections: what one client can hold of the server is bounded, and what HTTP allows still works."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_process import ApiProcess, running_api
from api_server import bound_port, make_server, make_services
from waiting import wait_until

from penstock.coordinator.api.app import create_app

MiB = 1024 * 1024
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
WHOLE = HEAD + b"\r\n"


class Client(socket.socket):
    """A connection on which a test sends what no HTTP client would."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.settimeout(30)
        self.connect(("127.0.0.1", port))

    def rest(self) -> bytes:
        """Return what the server sends until it closes the connection."""
        received = bytearray()
        with suppress(ConnectionResetError):
            while piece := self.recv(65536):
                received += piece
        return bytes(received)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Return status and document of a response after which the server closes the connection."""
        head, _, body = self.rest().partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        return int(head.split()[1]), json.loads(body)

    def is_reset(self) -> bool:
        """Whether the server has dropped the connection, and what it had still to send."""
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


@contextmanager
def running(app: Any, **limits: Any) -> Iterator[Callable[[], Client]]:
    """Serve an application within limits; yields a function that connects to it."""
    server = make_server(app, **limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    port = bound_port(server)
    with ExitStack() as clients:
        yield lambda: clients.enter_context(Client(port))
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Callable[..., Callable[[], Client]]]:
    """Call it with limits to serve a REST API; it returns a function that connects to it."""
    with ExitStack() as servers:
        services = make_services(tmp_path)
        servers.callback(services.repository.close)
        yield lambda **limits: servers.enter_context(running(create_app(services), **limits))


async def download(scope: Any, receive: Any, send: Any) -> None:
    """Send 64 MiB in parts of 1 MiB."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (64 * MiB))]})
    for index in range(64):
        await send({"type": "http.response.body", "body": bytes([index]) * MiB, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send a request's path and body back."""
    body, more = scope["path"].encode() + b" ", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body)), (b"x-headers", b"%d" % len(scope["headers"]))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def trailing(text: bytes) -> bytes:
    return b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n" + text


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"a" * 65_536 + b"\r\n\r\n",
        HEAD + b"X: " + b"a" * 80_000,
        HEAD + b"a: b\r\n" * 300 + b"\r\n",
        HEAD + b"a: b\r\n" * 20_000,
        b"GET /" + b"a" * 80_000,
    ],
    ids=["one-header", "endless-header", "many-headers", "endless-headers", "endless-target"],
)
def test_a_large_head_is_refused(bounded: Any, head: bytes) -> None:
    client = bounded()()
    client.sendall(head)
    status, problem = client.answer()
    assert (status, problem["code"]) == (431, "too_large_head")


def test_a_head_of_sixty_kilobytes_is_accepted(bounded: Any) -> None:
    client = bounded()()
    client.sendall(HEAD + b"X: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n")
    assert client.rest().startswith(b"HTTP/1.1 200 ")


def test_a_head_that_does_not_end_is_refused_after_its_time(bounded: Any) -> None:
    client = bounded(wait_secs=0.2)()
    client.sendall(HEAD)
    status, problem = client.answer()
    assert (status, problem["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("sent", [b"", WHOLE], ids=["new", "used"])
def test_an_idle_connection_is_closed(bounded: Any, sent: bytes) -> None:
    client = bounded(wait_secs=0.2)()
    client.sendall(sent)
    assert client.rest().startswith(b"HTTP/1.1 200 ") is bool(sent)


def test_what_is_not_http_gets_a_problem_document(bounded: Any) -> None:
    connect = bounded()
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"hello\r\n\r\n"):
        client = connect()
        client.sendall(sent)
        status, problem = client.answer()
        assert (status, problem["code"]) == (400, "bad_request")


def test_the_connection_that_waits_longest_makes_room(bounded: Any) -> None:
    connect = bounded(max_connections=4)
    waiting = [connect() for _ in range(4)]
    waiting[1].sendall(HEAD)
    client = connect()
    client.sendall(WHOLE)
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert waiting[0].rest() == b""
    connect().sendall(WHOLE)
    status, problem = waiting[1].answer()
    assert (status, problem["code"]) == (503, "too_many_connections")
    waiting[2].sendall(WHOLE)
    assert waiting[2].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_requests_above_the_limit_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    with running(download, max_connections=2) as connect:
        clients = [connect(), connect()]
        for client in clients:
            client.sendall(WHOLE)
            assert client.recv(1)
        for _ in range(3):
            status, problem = connect().answer()
            assert (status, problem["code"]) == (503, "too_many_connections")
    assert ["PENSTOCK_MAX_CONNECTIONS" in text for text in caplog.messages] == [True]


def test_a_slow_body_is_refused(bounded: Any) -> None:
    client = bounded(slow_secs=0.6)()
    client.sendall(
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    )
    stopping = threading.Event()

    def trickle() -> None:
        with suppress(OSError):
            while not stopping.wait(0.02):
                client.sendall(b" ")

    thread = threading.Thread(target=trickle)
    thread.start()
    status, problem = client.answer()
    stopping.set()
    thread.join()
    assert (status, problem["code"]) == (408, "request_timeout")


def test_a_body_waits_for_the_server_as_long_as_it_takes() -> None:
    asked = threading.Event()

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.to_thread(asked.wait, 20)
        await echo(scope, receive, send)

    with running(busy, slow_secs=0.2) as connect:
        client = connect()
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        time.sleep(1.5)  # during which the server does not ask for the body
        asked.set()
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        assert client.recv(65536).endswith(b"/ ok")


def test_a_download_that_nobody_reads_is_ended() -> None:
    with running(download, slow_secs=0.5) as connect:
        client = connect()
        client.sendall(WHOLE)
        wait_until(client.is_reset, secs=20)


def test_a_download_that_is_read_slowly_goes_on() -> None:
    with running(download, slow_secs=2.0) as connect:
        client = connect()
        client.sendall(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = bytearray()
        while len(received) < 16 * MiB:
            received += client.recv(MiB)
            time.sleep(0.05)
        body = (bytes(received) + client.rest()).partition(b"\r\n\r\n")[2]
        assert body == b"".join(bytes([index]) * MiB for index in range(64))


def test_a_connection_is_kept_for_more_requests(bounded: Any) -> None:
    client = bounded()()
    for _ in range(3):
        client.sendall(WHOLE)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_get_their_answers_in_order() -> None:
    with running(echo) as connect:
        client = connect()
        paths = [b"/%d" % index for index in range(20)]
        client.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths))
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 20 or not received.endswith(b"/19 "):
            received += client.recv(65536)
        assert [line.split()[0] for line in received.split(b"\r\n\r\n")[1:]] == paths


def test_too_many_pipelined_requests_are_left_to_the_client() -> None:
    with running(echo, max_pipelined=4) as connect:
        client = connect()
        client.sendall(b"GET /0 HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
        received = client.rest()
        assert 1 <= received.count(b"HTTP/1.1 200 ") <= 6
        assert received.count(b"connection: close") == 1


def test_trailers_are_accepted_and_ignored() -> None:
    with running(echo) as connect:
        client = connect()
        client.sendall(trailing(b"X-Checksum: 1\r\nY: 2\r\n\r\n"))
        answer = client.recv(65536)
        assert answer.endswith(b"/t abc")
        assert b"x-headers: 2\r\n" in answer
        client.sendall(WHOLE)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("endless", [b"X: " + b"a" * MiB, b"a: b\r\n" * 200_000], ids=["one", "many"])
def test_endless_trailers_are_refused(bounded: Any, endless: bytes) -> None:
    client = bounded()()
    client.sendall(
        trailing(endless).replace(b"/t", b"/v1/jobs").replace(b"Host", b"Content-Type: application/json\r\nHost")
    )
    status, problem = client.answer()
    assert (status, problem["code"]) == (431, "too_large_head")


def test_an_upgrade_is_answered_as_a_plain_request(bounded: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = bounded()()
    client.sendall(HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n")
    assert client.rest().startswith(b"HTTP/1.1 200 ")
    assert caplog.messages == []


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ApiProcess]:
    """A REST API in a process that may open 256 files."""
    prlimit = shutil.which("prlimit")
    if not sys.platform.startswith("linux") or prlimit is None:
        pytest.skip("reads /proc, and needs prlimit")
    with running_api(tmp_path, [prlimit, "--nofile=256:256"]) as process:
        yield process


@pytest.mark.parametrize("piece", [b"a" * 65_536, b"a: b\r\n" * 10_000], ids=["one-header", "many-headers"])
def test_large_heads_take_no_memory(process: ApiProcess, piece: bytes) -> None:
    process.http.get("/healthz")
    before = process.peak_bytes()
    with Client(process.port) as client:
        client.sendall(HEAD + b"X: ")
        with suppress(ConnectionError):
            for _ in range(200 * MiB // len(piece)):
                client.sendall(piece)
    assert process.http.get("/healthz").status_code == 200
    assert process.peak_bytes() - before < 8 * MiB


def test_connections_that_send_no_request_lock_nobody_out(process: ApiProcess) -> None:
    with ExitStack() as held:
        for index in range(400):
            client = held.enter_context(Client(process.port))
            with suppress(ConnectionError):
                client.sendall(HEAD)
            if index % 20 == 0:
                assert httpx.get(f"http://127.0.0.1:{process.port}/v1/jobs").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{process.port}/readyz").json()["ready"] is True
