"""Retries: what is sent again, after which delay, and when they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from penstock.client.errors import DamagedError, RefusedError, UnavailableError
from penstock.client.request import Request
from penstock.client.retries import Retries, read_refusal, read_retry_after

PROBLEM = {"status": 422, "code": "unknown_operation", "detail": "no operation 'x'", "pointer": "/operations/0"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def retries(
    method: str = "GET", patience_secs: float = 60, *, idempotent: bool = True, clock: Clock | None = None
) -> Retries:
    request: Request[None] = Request(method, "/v1/jobs", lambda _: None, idempotent=idempotent)
    return Retries(request, "http://server", patience_secs, clock=clock or Clock())


def response(status: int, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=httpx.Request("GET", "http://server/v1/jobs"), **content)


@pytest.mark.parametrize(
    ("header", "secs"), [("0", 0), ("7", 7), (" 120 ", 120), ("", None), ("soon", None), ("-1", None), (None, None)]
)
def test_retry_after_may_be_a_number_of_seconds(header: str | None, secs: float | None) -> None:
    assert read_retry_after(header) == secs


def test_retry_after_may_be_a_date() -> None:
    secs = read_retry_after(format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True))
    assert secs == pytest.approx(86_400, abs=3_600)
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("status", [429, 503])
def test_any_request_that_was_not_processed_is_sent_again_after_retry_after(status: int) -> None:
    delay_secs = retries("POST", idempotent=False).delay_after_response(response(status, {"Retry-After": "3"}))
    assert 3 <= delay_secs <= 3.3


@pytest.mark.parametrize("status", [502, 504])
def test_a_request_that_may_have_been_processed_is_sent_again_only_if_it_is_idempotent(status: int) -> None:
    assert 0 < retries().delay_after_response(response(status)) <= 0.1
    with pytest.raises(RefusedError):
        retries("POST", idempotent=False).delay_after_response(response(status))


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 500, 302])
def test_a_refused_request_is_not_sent_again(status: int) -> None:
    with pytest.raises(RefusedError) as caught:
        retries().delay_after_response(response(status))
    assert caught.value.status == status


def test_delays_grow_up_to_a_limit() -> None:
    patient = retries(patience_secs=1e9)
    delays = [patient.delay_after_response(response(503)) for _ in range(2_000)]
    assert all(0.05 * 2**count <= delay <= 0.1 * 2**count for count, delay in enumerate(delays[:6]))
    assert 5 <= max(delays) <= 10


def test_retries_end_before_a_delay_that_exceeds_the_patience() -> None:
    with pytest.raises(UnavailableError, match="answers 503: /v1/jobs: 503 full") as caught:
        retries(patience_secs=5).delay_after_response(response(503, {"Retry-After": "60"}, text="full"))
    assert caught.value.status == 503


def test_the_patience_counts_from_the_first_failure_so_that_a_transfer_may_be_long() -> None:
    clock = Clock()
    transfer = retries(patience_secs=10, clock=clock)
    clock.now += 3_600
    assert transfer.delay_after_error(httpx.ReadError("cut")) <= 0.1
    clock.now += 10
    with pytest.raises(UnavailableError):
        transfer.delay_after_error(httpx.ReadError("cut"))


def test_a_warning_is_logged_once_after_a_moment(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    waiting = retries(clock=clock)
    waiting.delay_after_error(httpx.ConnectError("refused"))
    assert caplog.messages == []
    for _ in range(2):
        clock.now += 2.1
        waiting.delay_after_error(httpx.ConnectError("refused"))
    assert caplog.messages == ["cannot reach http://server: refused; retrying for up to 60 s"]


def test_an_invalid_request_is_not_sent_again() -> None:
    with pytest.raises(UnavailableError, match="Illegal header value"):
        retries().delay_after_error(httpx.LocalProtocolError("Illegal header value"))


def test_a_broken_connection_is_retried_where_that_is_safe() -> None:
    unsent, cut = httpx.ConnectError("refused"), httpx.ReadError("cut")
    assert retries("POST", idempotent=False).delay_after_error(unsent) > 0
    assert retries().delay_after_error(cut) > 0
    with pytest.raises(UnavailableError, match="cannot reach http://server: cut"):
        retries("POST", idempotent=False).delay_after_error(cut)
    with pytest.raises(DamagedError):
        retries(patience_secs=0).delay_after_error(DamagedError("other bytes"))


def test_a_404_after_a_delete_whose_response_was_lost_is_a_success() -> None:
    delete = retries("DELETE")
    assert not delete.is_success(response(404))
    delete.delay_after_error(httpx.ReadError("cut"))
    assert delete.is_success(response(404))
    assert delete.is_success(response(204))


def test_a_refusal_has_the_fields_of_its_problem_document() -> None:
    error = read_refusal(response(422, json=PROBLEM))
    assert (error.status, error.code, error.detail, error.pointer) == (
        422,
        "unknown_operation",
        "no operation 'x'",
        "/operations/0",
    )
    assert error.message == "/operations/0: no operation 'x'"


def test_a_refusal_contains_no_control_characters() -> None:
    problem = {"code": "x", "detail": "no \x1b[31mred\r\n\x9bline", "pointer": "/a\n"}
    error = read_refusal(response(422, json=problem))
    assert error.message == "/a : no  [31mred   line"
    assert "\x1b" not in read_refusal(response(500, text="\x1b[2J")).message


@pytest.mark.parametrize("body", [b"<h1>Bad\n Gateway</h1>", b"[1]", b"\xff\xfe", b""])
def test_a_refusal_without_a_problem_document_is_one_line(body: bytes) -> None:
    error = read_refusal(response(502, content=body))
    assert (error.status, error.code) == (502, "refused")
    assert "\n" not in error.message
    assert error.message.startswith("/v1/jobs: 502 ")


def test_a_redirect_is_reported_and_not_followed() -> None:
    moved = response(308, {"Location": "https://server/v1/jobs"}, text="<h1>Moved</h1>")
    message = "/v1/jobs: 308 redirects to https://server/v1/jobs; redirects are not followed"
    assert read_refusal(moved).message == message
