"""Stdio protocol: parsing, refusing and writing its lines."""

from __future__ import annotations

import json

import pytest

from penstock.common.model.stdio_protocol import (
    Description,
    ProtocolError,
    Request,
    Response,
    ResponseError,
    read_message,
    write_message,
)

REQUEST = {"v": 1, "op": "blur", "params": {"method": "median"}, "in": ["/data/0"], "out": "/data/out"}


def test_a_request_survives_a_round_trip() -> None:
    request = Request(op="blur", params={"method": "median"}, inputs=["/data/0"], out="/data/out")
    line = write_message(request)
    assert json.loads(line) == REQUEST
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_message(Request, line) == read_message(Request, json.dumps(REQUEST).encode())


def test_unknown_fields_are_ignored() -> None:
    assert read_message(Request, b'{"v": 1, "op": "describe", "since": 2}').op == "describe"
    assert read_message(Response, b'{"v": 1, "ok": true, "out": ["/a"], "seconds": 2}').out == ["/a"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "line: not JSON: "),
        (b"\x00\xff\n", "line: not JSON: "),
        (b"[]\n", "line: [] is not accepted; accepted is an object"),
        (b'{"v": 1}\n', "op: missing, but required"),
        (b'{"v": 2, "op": "blur"}\n', "v: 2 is not accepted; accepted is 1"),
        (b'{"v": 1, "op": "blur", "in": "/data/0"}\n', "in: '/data/0' is not accepted; accepted is a list"),
        (b'{"v": 1, "op": "blur", "in": ["\\ud800"]}\n', "line: not JSON: "),
        (b"[" * 100_000, "line: not JSON: "),
    ],
)
def test_an_invalid_request_is_refused_with_the_reason(line: bytes, said: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_message(Request, line)
    assert caught.value.message.startswith(said)


def test_only_fields_that_were_set_are_written() -> None:
    assert json.loads(write_message(Response(ok=True, out=["/a"]))) == {"v": 1, "ok": True, "out": ["/a"]}
    failed = Response(ok=False, error=ResponseError(code="corrupt_image", message="x", retry=False))
    assert json.loads(write_message(failed)) == {
        "v": 1,
        "ok": False,
        "error": {"code": "corrupt_image", "message": "x", "retry": False},
    }


def test_a_response_that_is_not_ok_needs_an_error() -> None:
    with pytest.raises(ProtocolError, match="needs an error"):
        read_message(Response, b'{"v": 1, "ok": false}')


def test_a_description_has_a_schema_for_each_operation() -> None:
    said = b'{"v": 1, "step": "invert", "params": {"a": 1}, "operations": {"negate": {"b": 2}}}'
    description = read_message(Description, said)
    assert description.schema_of("invert") == {"a": 1}
    assert description.schema_of("negate") == {"b": 2}
    assert description.schema_of("blur") is None
    assert description.accepts == ["safetensors"]
    assert not description.gpu
    assert read_message(Description, write_message(Description(step="invert", gpu=True))).gpu
