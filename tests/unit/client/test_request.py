"""Request: where it is sent, and which responses it accepts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from penstock.client.errors import UnexpectedAnswerError
from penstock.client.request import Request


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}"])
def test_a_response_of_another_kind_of_server_is_refused(content: bytes) -> None:
    request: Request[Any] = Request("GET", "/v1/jobs", lambda response: response.json()["jobs"])
    sent = httpx.Request("GET", "http://server/v1/jobs")
    with pytest.raises(UnexpectedAnswerError, match="is it a Penstock server"):
        request.result(httpx.Response(200, request=sent, content=content))


@pytest.mark.parametrize("path", ["http://elsewhere/x", "elsewhere/x", "", "/x\r\ny"])
def test_a_path_to_another_server_is_refused(path: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match="not a path of this server"):
        Request("GET", path, lambda _: None).httpx_arguments("")


def test_a_path_that_begins_with_two_slashes_stays_on_the_server() -> None:
    arguments = Request("GET", "//elsewhere/x", lambda _: None).httpx_arguments("")
    assert httpx.Client(base_url="http://server/below").build_request(**arguments).url.host == "server"
