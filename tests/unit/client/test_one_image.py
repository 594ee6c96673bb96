"""One image: how operations are written into a query, and how results are read from the response."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from penstock.client.errors import DamagedError, LocalFileError, UnexpectedAnswerError
from penstock.client.one_image import OneImage, write_op
from penstock.common.model.jobs import parse_op


@pytest.mark.parametrize(
    ("op", "short"),
    [
        ("resize=512x512", ["resize", "512x512"]),
        (["resize", "512x512"], ["resize", "512x512"]),
        (("blur", {"method": "median", "size": 5}), ["blur", {"method": "median", "size": 5}]),
        (["split", True], ["split", True]),
        (["split"], ["split"]),
        (["draw", "12"], ["draw", "12"]),
        (["draw", 12], ["draw", 12]),
        (["draw", 'a "word" = x'], ["draw", 'a "word" = x']),
        ({"op": "resize", "width": 2, "height": 3}, ["resize", {"width": 2, "height": 3}]),
    ],
)
def test_an_operation_in_any_form_is_read_by_the_server_as_the_same(op: Any, short: list[Any]) -> None:
    assert parse_op(write_op(op)) == short


def message(*parts: tuple[str, bytes], etag: str | None = None) -> httpx.Response:
    """Return a multipart response with files by name."""
    body = b""
    for name, data in parts:
        fields = {
            "Content-Type": "image/png",
            "Content-Length": len(data),
            "ETag": f'"{etag or hashlib.sha256(data).hexdigest()}"',
            "Penstock-Name": name,
            "Penstock-Width": 3,
            "Penstock-Height": 2,
            "Penstock-Warnings": "depth_reduced, other",
        }
        head = "\r\n".join(["--B", *(f"{field}: {value}" for field, value in fields.items()), "", ""])
        body += head.encode() + data + b"\r\n"
    headers = {"Content-Type": "multipart/mixed; boundary=B"}
    request = httpx.Request("POST", "http://server/v1/process")
    return httpx.Response(200, request=request, headers=headers, content=body + b"--B--\r\n")


def test_results_are_read_whatever_bytes_they_have() -> None:
    files = [("a%20b-0.png", b"--B\r\n\r\n--B--\r\n"), ("n%C3%BC-1.png", b""), ("c.png", bytes(range(256)))]
    results = OneImage(b"", None).request([], {}).result(message(*files))
    assert [(result.name, result.data) for result in results] == [
        ("a b-0.png", files[0][1]),
        ("nü-1.png", b""),
        ("c.png", files[2][1]),
    ]
    assert (results[0].media_type, results[0].width, results[0].height) == ("image/png", 3, 2)
    assert results[0].warnings == ("depth_reduced", "other")


def test_a_result_that_does_not_match_its_checksum_is_damaged() -> None:
    with pytest.raises(DamagedError, match=r"x\.png"):
        OneImage(b"", None).request([], {}).result(message(("x.png", b"data"), etag="0" * 64))


def test_a_response_that_is_no_such_message_is_unexpected() -> None:
    request = httpx.Request("POST", "http://server/v1/process")
    for content_type, body in ("text/html", b"<html>"), ("multipart/mixed; boundary=B", b"--B\r\nx\r\n\r\n"):
        response = httpx.Response(200, request=request, headers={"Content-Type": content_type}, content=body)
        with pytest.raises(UnexpectedAnswerError):
            OneImage(b"", None).request([], {}).result(response)


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(LocalFileError, match=r"nowhere\.jpg: No such file"):
        OneImage.read("nowhere.jpg")
