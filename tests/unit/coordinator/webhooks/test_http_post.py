"""HTTP POST to real servers: pinned to checked addresses, with one deadline, and never redirected."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from webhook_receiver import HANG, make_certificate, running_receiver

from penstock.coordinator.webhooks.http_post import HttpPoster, PostError, Resolve, resolve
from penstock.coordinator.webhooks.ssrf import DestinationPolicy

LOOPBACK = ["http://127.0.0.0/8"]


def poster(
    allow: Sequence[str] = LOOPBACK, resolve: Resolve = resolve, timeout_secs: float = 20.0, ca_file: Path | None = None
) -> HttpPoster:
    tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    return HttpPoster(DestinationPolicy(allow), tls, 5.0, timeout_secs, resolve)


class FakeResolver:
    """A resolver that gives its answers one after the other, and then the last one again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.lookups: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.lookups.append((host, port))
        return self.answers[min(len(self.lookups), len(self.answers)) - 1]


@contextmanager
def raw_server(respond: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server that passes one connection to `respond`; yield its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with closing(connection):
                try:
                    respond(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


def test_body_and_headers_arrive_unchanged_and_the_status_is_returned() -> None:
    with running_receiver(202) as receiver:
        assert poster().post(receiver.url(), {"webhook-id": "e-0"}, b'{"a": 1}') == 202
    [received] = receiver.received
    assert (received.path, received.body) == ("/hook?token=of-the-receiver", b'{"a": 1}')
    assert received.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["webhook-id"] == "e-0"
    assert received.headers["User-Agent"].startswith("penstock/")


def test_redirects_are_not_followed() -> None:
    with running_receiver(307) as receiver:
        assert poster().post(receiver.url(), {}, b"{}") == 307
    assert [received.path for received in receiver.received] == ["/hook?token=of-the-receiver"]


def test_proxies_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_receiver() as proxy, running_receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert poster().post(receiver.url(), {}, b"{}") == 204
    assert (len(proxy.received), len(receiver.received)) == (0, 1)


def test_the_connection_goes_to_the_checked_address_although_dns_answers_differently_later() -> None:
    rebinding = FakeResolver(["127.0.0.1"], ["127.66.66.66"])
    with running_receiver() as receiver:
        url = receiver.url("hooks.example")
        assert poster(["http://127.0.0.1/32"], rebinding).post(url, {}, b"{}") == 204
        assert rebinding.lookups == [("hooks.example", receiver.port)], "looked up once, and not again to connect"
        assert receiver.received[0].headers["Host"] == f"hooks.example:{receiver.port}"
        with pytest.raises(PostError, match=r"hooks\.example: accepted"):
            poster(["http://127.0.0.1/32"], rebinding).post(url, {}, b"{}")
    assert len(receiver.received) == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1"]])
def test_a_name_that_resolves_to_this_host_is_refused(addresses: list[str]) -> None:
    with running_receiver() as receiver, pytest.raises(PostError, match="accepted are public addresses"):
        poster([], FakeResolver(addresses)).post(receiver.url("hooks.example", "https"), {}, b"{}")
    assert receiver.received == []


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with running_receiver() as receiver:
        both = FakeResolver(["127.66.66.66", "127.0.0.1"])  # the receiver listens on the second one only
        assert poster(resolve=both).post(receiver.url("hooks.example"), {}, b"{}") == 204


def test_the_certificate_must_match_the_name_and_come_from_a_trusted_authority(
    tmp_path: Path, without_service: Callable[[str], None]
) -> None:
    authority, context = make_certificate(tmp_path, "DNS:hooks.example", without_service)
    names: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    here = FakeResolver(["127.0.0.1"])
    with running_receiver(tls=context) as receiver:
        url, other = receiver.url("hooks.example", "https"), receiver.url("other.example", "https")
        trusting = poster(["127.0.0.1/32"], here, ca_file=authority)
        assert trusting.post(url, {}, b"{}") == 204
        assert names == ["hooks.example"], "SNI has the name although the connection went to an address"
        with pytest.raises(PostError, match=r"certificate not accepted: .*other\.example"):
            trusting.post(other, {}, b"{}")
        with pytest.raises(PostError, match="certificate not accepted: self-signed"):
            poster(["127.0.0.1/32"], here).post(url, {}, b"{}")
    assert len(receiver.received) == 1


def test_an_unknown_name_is_reported() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(PostError, match="cannot connect: Name or service not known"):
        poster(resolve=unknown).post("http://hooks.example/", {}, b"{}")


def test_the_system_resolver_returns_each_address_once() -> None:
    assert resolve("127.0.0.1", 443) == ["127.0.0.1"]


def test_a_refused_connection_is_reported() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(PostError, match="cannot connect: Connection refused"):
        poster().post(f"http://127.0.0.1:{port}/", {}, b"{}")


def test_a_receiver_that_does_not_respond_times_out() -> None:
    with running_receiver(HANG) as receiver, pytest.raises(PostError, match="timed out"):
        poster(timeout_secs=0.3).post(receiver.url(), {}, b"{}")
    assert len(receiver.received) == 1


def test_a_slow_response_times_out_at_the_overall_deadline() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:  # until the connection is closed
            connection.sendall(b"X")
            time.sleep(0.05)

    with raw_server(drip) as port, pytest.raises(PostError, match="timed out"):
        poster(timeout_secs=0.5).post(f"http://127.0.0.1:{port}/", {}, b"{}")


def test_a_tls_handshake_that_hangs_times_out() -> None:
    def listen(connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass

    with raw_server(listen) as port, pytest.raises(PostError, match="timed out"):
        poster(["127.0.0.1"], timeout_secs=0.3).post(f"https://127.0.0.1:{port}/", {}, b"{}")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100_000])
def test_a_response_that_is_not_http_is_an_error(answer: bytes) -> None:
    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)

    with raw_server(respond) as port, pytest.raises(PostError, match=r"not HTTP|cannot connect"):
        poster().post(f"http://127.0.0.1:{port}/", {}, b"{}")


def test_an_endless_response_is_read_up_to_a_limit_and_its_status_counts() -> None:
    sent = 0

    def respond(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            sent += connection.send(b"x" * 65_536)

    with raw_server(respond) as port:
        assert poster().post(f"http://127.0.0.1:{port}/", {}, b"{}") == 200
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 9000000000000000000\r\n\r\nok",
        b"Content-Length: 90000000000000000000\r\n\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\n7000000000000000\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\n-2\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\nmany\r\nok",
    ],
)
def test_a_wrong_content_length_allocates_no_memory_and_the_status_counts(body: bytes) -> None:
    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + body)

    with raw_server(respond) as port:
        assert poster().post(f"http://127.0.0.1:{port}/", {}, b"{}") == 200


def test_an_interim_response_is_skipped() -> None:
    def respond(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    with raw_server(respond) as port:
        assert poster().post(f"http://127.0.0.1:{port}/", {}, b"{}") == 503


def test_a_url_that_is_not_allowed_is_not_even_resolved() -> None:
    def never(_host: str, _port: int) -> list[str]:
        pytest.fail("the name was looked up")

    with pytest.raises(PostError, match="only https is accepted"):
        poster([], never).post("http://hooks.example/", {}, b"{}")
