"""One POST, to real servers: pinned to what was checked, timed as a whole, and never led elsewhere."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from webhook_receiver import HANG, make_certificate, running_receiver

from penstock.coordinator.webhooks.http_post import PinnedPoster, Resolve, SendError, make_trust, resolve
from penstock.coordinator.webhooks.ssrf import Destinations

LOOPBACK = ["http://127.0.0.0/8"]


def sender(
    allow: Sequence[str] = LOOPBACK, resolve: Resolve = resolve, secs: float = 20.0, authority: Path | None = None
) -> PinnedPoster:
    return PinnedPoster(Destinations(allow), make_trust(str(authority) if authority else None), 5.0, secs, resolve)


class Answers:
    """A resolver that gives its answers one after the other, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@contextmanager
def answering(speak: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server that lets one connection be spoken to; yield its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with closing(connection):
                try:
                    speak(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


def test_a_body_arrives_as_it_is_with_its_headers_and_the_status_comes_back() -> None:
    with running_receiver(202) as receiver:
        assert sender().post(receiver.url(), {"Penstock-Event": "e-0"}, b'{"a": 1}') == 202
    [received] = receiver.received
    assert (received.path, received.body) == ("/hook?token=of-the-receiver", b'{"a": 1}')
    assert received.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Penstock-Event"] == "e-0"
    assert received.headers["User-Agent"].startswith("penstock/")


def test_a_redirect_is_an_answer_like_any_other_and_not_followed() -> None:
    with running_receiver(307) as receiver:
        assert sender().post(receiver.url(), {}, b"{}") == 307
    assert [received.path for received in receiver.received] == ["/hook?token=of-the-receiver"]


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_receiver() as proxy, running_receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert sender().post(receiver.url(), {}, b"{}") == 204
    assert (len(proxy.received), len(receiver.received)) == (0, 1)


def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_name_leads_to_next() -> None:
    rebinding = Answers(["127.0.0.1"], ["127.66.66.66"])
    with running_receiver() as receiver:
        url = receiver.url("hooks.example")
        assert sender(["http://127.0.0.1/32"], rebinding).post(url, {}, b"{}") == 204
        assert rebinding.asked == [("hooks.example", receiver.port)], "asked once, and not again to connect"
        assert receiver.received[0].headers["Host"] == f"hooks.example:{receiver.port}"
        with pytest.raises(SendError, match=r"hooks\.example: accepted"):
            sender(["http://127.0.0.1/32"], rebinding).post(url, {}, b"{}")
    assert len(receiver.received) == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1"]])
def test_a_name_that_leads_to_this_host_is_not_connected_to(addresses: list[str]) -> None:
    with running_receiver() as receiver, pytest.raises(SendError, match="accepted are public addresses"):
        sender([], Answers(addresses)).post(receiver.url("hooks.example", "https"), {}, b"{}")
    assert receiver.received == []


def test_an_address_that_does_not_answer_gives_way_to_the_next_one_of_the_name() -> None:
    with running_receiver() as receiver:
        both = Answers(["127.66.66.66", "127.0.0.1"])  # the receiver listens at the second alone
        assert sender(resolve=both).post(receiver.url("hooks.example"), {}, b"{}") == 204


def test_over_tls_the_certificate_has_to_be_the_names_and_of_a_trusted_authority(
    tmp_path: Path, without_service: Callable[[str], None]
) -> None:
    authority, context = make_certificate(tmp_path, "DNS:hooks.example", without_service)
    names: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    here = Answers(["127.0.0.1"])
    with running_receiver(tls=context) as receiver:
        url, other = receiver.url("hooks.example", "https"), receiver.url("other.example", "https")
        trusting = sender(["127.0.0.1/32"], here, authority=authority)
        assert trusting.post(url, {}, b"{}") == 204
        assert names == ["hooks.example"], "the name is asked for, though the connection went to an address"
        with pytest.raises(SendError, match=r"certificate is not accepted: .*other\.example"):
            trusting.post(other, {}, b"{}")
        with pytest.raises(SendError, match="certificate is not accepted: self-signed"):
            sender(["127.0.0.1/32"], here).post(url, {}, b"{}")
    assert len(receiver.received) == 1


def test_a_name_that_nobody_knows_says_so() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(SendError, match="not reached: Name or service not known"):
        sender(resolve=unknown).post("http://hooks.example/", {}, b"{}")


def test_the_systems_own_resolver_gives_each_address_once() -> None:
    assert resolve("127.0.0.1", 443) == ["127.0.0.1"]


def test_a_port_that_nobody_listens_on_says_so() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SendError, match="not reached: Connection refused"):
        sender().post(f"http://127.0.0.1:{port}/", {}, b"{}")


def test_a_receiver_that_does_not_answer_is_left_when_the_time_is_over() -> None:
    with running_receiver(HANG) as receiver, pytest.raises(SendError, match="no answer in time"):
        sender(secs=0.3).post(receiver.url(), {}, b"{}")
    assert len(receiver.received) == 1


def test_an_answer_that_comes_in_drops_does_not_last_longer_than_the_whole_may() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:  # until nobody takes it any more
            connection.sendall(b"X")
            time.sleep(0.05)

    with answering(drip) as port, pytest.raises(SendError, match="no answer in time"):
        sender(secs=0.5).post(f"http://127.0.0.1:{port}/", {}, b"{}")


def test_a_handshake_that_does_not_come_is_left_as_well() -> None:
    def listen(connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass

    with answering(listen) as port, pytest.raises(SendError, match="no answer in time"):
        sender(["127.0.0.1"], secs=0.3).post(f"https://127.0.0.1:{port}/", {}, b"{}")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100_000])
def test_what_does_not_speak_http_is_no_receiver(answer: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)

    with answering(speak) as port, pytest.raises(SendError, match=r"not HTTP|not reached"):
        sender().post(f"http://127.0.0.1:{port}/", {}, b"{}")


def test_an_answer_without_end_is_read_to_a_bound_and_its_status_counts() -> None:
    sent = 0

    def speak(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            sent += connection.send(b"x" * 65_536)

    with answering(speak) as port:
        assert sender().post(f"http://127.0.0.1:{port}/", {}, b"{}") == 200
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
def test_an_answer_that_lies_about_its_length_costs_no_memory_and_its_status_counts(body: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + body)

    with answering(speak) as port:
        assert sender().post(f"http://127.0.0.1:{port}/", {}, b"{}") == 200


def test_an_interim_answer_is_not_taken_for_the_last() -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    with answering(speak) as port:
        assert sender().post(f"http://127.0.0.1:{port}/", {}, b"{}") == 503


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        make_trust(str(tmp_path / "none.pem"))


def test_nothing_is_sent_to_a_url_that_is_refused_although_a_job_has_it() -> None:
    def never(_host: str, _port: int) -> list[str]:
        pytest.fail("no name is to be looked up")

    with pytest.raises(SendError, match="accepted is https"):
        sender([], never).post("http://hooks.example/", {}, b"{}")
