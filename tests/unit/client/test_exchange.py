"""What is sent again, after how long, and when it is over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from penstock.client.errors import DamagedError, RefusedError, UnavailableError, UnexpectedAnswerError
from penstock.client.exchange import Attempts, Call, read_retry_after, refusal

PROBLEM = {"status": 422, "code": "unknown_operation", "detail": "no operation 'x'", "pointer": "/operations/0"}


def attempts(method: str = "GET", patience_secs: float = 60, **fields: Any) -> Attempts:
    return Attempts(Call(method, "/v1/jobs", **fields), "http://server", patience_secs)


def answer(status: int, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=httpx.Request("GET", "http://server/v1/jobs"), **content)


@pytest.mark.parametrize(
    ("header", "secs"), [("0", 0), ("7", 7), (" 120 ", 120), ("", None), ("soon", None), ("-1", None)]
)
def test_retry_after_is_read_as_seconds(header, secs):
    assert read_retry_after(header) == secs


def test_retry_after_is_read_as_a_date():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert 88 < read_retry_after(format_datetime(later, usegmt=True)) <= 90
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert read_retry_after(None) is None


@pytest.mark.parametrize("status", [429, 503])
def test_what_was_not_acted_upon_is_sent_again_whatever_it_is(status):
    pause = attempts("POST", repeatable=False).pause_after_answer(answer(status, {"Retry-After": "3"}))
    assert 3 <= pause <= 3.3


@pytest.mark.parametrize("status", [502, 504])
def test_what_may_have_been_acted_upon_is_sent_again_only_where_twice_is_once(status):
    assert 0 < attempts().pause_after_answer(answer(status)) <= 0.1
    with pytest.raises(RefusedError):
        attempts("POST", repeatable=False).pause_after_answer(answer(status))


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 500, 302])
def test_what_will_not_change_is_refused_at_once(status):
    with pytest.raises(RefusedError) as caught:
        attempts().pause_after_answer(answer(status))
    assert caught.value.status == status


def test_pauses_grow_up_to_a_bound():
    patient = attempts(patience_secs=1e9)
    pauses = [patient.pause_after_answer(answer(503)) for _ in range(2_000)]
    assert all(0.05 * 2**count <= pause <= 0.1 * 2**count for count, pause in enumerate(pauses[:6]))
    assert 5 <= max(pauses) <= 10


def test_it_is_over_before_a_pause_that_nobody_has_the_patience_for():
    with pytest.raises(UnavailableError, match="answers 503: /v1/jobs: 503 full") as caught:
        attempts(patience_secs=5).pause_after_answer(answer(503, {"Retry-After": "60"}, text="full"))
    assert caught.value.status == 503


def test_patience_counts_from_the_first_trouble_not_from_the_beginning_of_a_long_transfer():
    transfer = attempts(patience_secs=0.2)
    time.sleep(0.3)
    assert transfer.pause_after_error(httpx.ReadError("cut")) <= 0.1
    time.sleep(0.3)
    with pytest.raises(UnavailableError):
        transfer.pause_after_error(httpx.ReadError("cut"))


def test_who_waits_for_a_server_is_told_once_after_a_moment(caplog, monkeypatch):
    def messages() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    waiting = attempts()
    waiting.pause_after_error(httpx.ConnectError("refused"))
    assert messages() == []
    monkeypatch.setattr("penstock.client.exchange._QUIET_SECS", 0.0)
    waiting.pause_after_error(httpx.ConnectError("refused"))
    waiting.pause_after_error(httpx.ConnectError("refused"))
    assert messages() == ["no answer from http://server: refused; it is tried again for 60 s in all"]


def test_what_cannot_be_sent_is_not_tried_again():
    with pytest.raises(UnavailableError, match="Illegal header value"):
        attempts().pause_after_error(httpx.LocalProtocolError("Illegal header value"))


def test_broken_exchanges_are_tried_again_where_that_is_safe():
    unsent, cut = httpx.ConnectError("refused"), httpx.ReadError("cut")
    assert attempts("POST", repeatable=False).pause_after_error(unsent) > 0
    assert attempts().pause_after_error(cut) > 0
    with pytest.raises(UnavailableError, match="no answer from http://server: cut"):
        attempts("POST", repeatable=False).pause_after_error(cut)
    with pytest.raises(DamagedError):
        attempts(patience_secs=0).pause_after_error(DamagedError("other bytes"))


def test_what_is_gone_after_a_delete_whose_answer_was_lost_is_deleted():
    first = attempts("DELETE")
    assert not first.is_answered(answer(404))
    first.pause_after_error(httpx.ReadError("cut"))
    assert first.is_answered(answer(404))
    assert first.is_answered(answer(204))


def test_a_refusal_tells_what_the_problem_document_says():
    error = refusal(answer(422, json=PROBLEM))
    assert (error.status, error.code, error.detail, error.pointer) == (
        422,
        "unknown_operation",
        "no operation 'x'",
        "/operations/0",
    )
    assert error.message == "/operations/0: no operation 'x'"


def test_nothing_that_a_refusal_says_moves_the_cursor():
    problem = {"code": "x", "detail": "no \x1b[31mred\r\n\x9bline", "pointer": "/a\n"}
    error = refusal(answer(422, json=problem))
    assert error.message == "/a : no  [31mred   line"
    assert "\x1b" not in refusal(answer(500, text="\x1b[2J")).message


@pytest.mark.parametrize("body", [b"<h1>Bad\n Gateway</h1>", b"[1]", b"\xff\xfe", b""])
def test_a_refusal_without_a_problem_document_is_told_in_one_line(body):
    error = refusal(answer(502, content=body))
    assert (error.status, error.code) == (502, "refused")
    assert "\n" not in error.message
    assert error.message.startswith("/v1/jobs: 502 ")


def test_a_redirection_is_told_and_not_followed():
    moved = answer(308, {"Location": "https://server/v1/jobs"}, text="<h1>Moved</h1>")
    assert refusal(moved).message == "/v1/jobs: 308 leads to https://server/v1/jobs, which is not followed"


def test_an_answer_of_another_kind_of_server_is_not_taken():
    call: Call[Any] = Call("GET", "/v1/jobs", lambda response: response.json()["jobs"])
    for content in (b"<html>", b"[]", b"{}"):
        with pytest.raises(UnexpectedAnswerError, match="something else than Penstock"):
            call.answer(answer(200, content=content))


@pytest.mark.parametrize("path", ["http://elsewhere/x", "elsewhere/x", "", "/x\r\ny"])
def test_no_call_leaves_the_server_with_its_key(path):
    with pytest.raises(UnexpectedAnswerError, match="not a path of this server"):
        Call("GET", path).request()
    request = httpx.Client(base_url="http://server/below").build_request(**Call("GET", "//elsewhere/x").request())
    assert request.url.host == "server"
