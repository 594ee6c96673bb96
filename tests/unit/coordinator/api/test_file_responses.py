"""Byte ranges, conditional requests and file names in headers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi import Request, Response

from penstock.coordinator.api.responses.file_responses import Content, file_response

DATA = bytes(range(100))


def answer(name: str = "a.jpg", data: bytes = DATA, **headers: str) -> Response:
    """Request a file with headers."""

    def read(start: int, end: int) -> Iterator[bytes]:
        yield data[start:end]

    sent = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    request = Request({"type": "http", "headers": sent})
    return file_response(request, Content(name, len(data), "image/jpeg", "tag", True, read))


@pytest.mark.parametrize(
    ("span", "status", "body"),
    [
        ("bytes=0-0", 206, DATA[:1]),
        ("bytes=99-", 206, DATA[99:]),
        ("bytes=-1000", 206, DATA),
        ("bytes=-0", 416, None),
        ("bytes=100-", 416, None),
        ("bytes=100-50", 200, DATA),
        ("BYTES=0-1", 200, DATA),
        ("bytes=a-b", 200, DATA),
        ("bytes=0-99999999999999999999", 200, DATA),
        ("bytes=\u0661-2", 200, DATA),
    ],
)
def test_a_range_is_served_or_ignored_but_never_misread(span: str, status: int, body: bytes | None) -> None:
    sent = answer(range=span)
    assert sent.status_code == status
    if body is None:
        assert json.loads(sent.body)["code"] == "no_such_range"
    else:
        assert sent.body == body


def test_an_empty_file_has_no_ranges() -> None:
    assert answer(data=b"").status_code == 200
    assert answer(data=b"", range="bytes=0-").status_code == 416


@pytest.mark.parametrize(
    ("known", "status"), [('"tag"', 304), ('W/"tag"', 304), ('"x", "tag"', 304), ("*", 304), ('"x"', 200)]
)
def test_a_client_that_has_the_file_gets_304(known: str, status: int) -> None:
    assert answer(if_none_match=known).status_code == status


@pytest.mark.parametrize("name", ['a"b.jpg', "a\\b", "a%22b.jpg", "é\r\nX-Evil: 1", "日本.jpg", "folder/a.jpg"])
def test_a_name_cannot_break_out_of_its_header(name: str) -> None:
    header = answer(name).headers["content-disposition"]
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "/" not in header
