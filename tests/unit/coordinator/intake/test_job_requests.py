"""Job documents: read strictly, and equal however they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.coordinator.intake.job_requests import JobRequest, read_actions, read_job_request, read_json
from penstock.coordinator.intake.new_job import fingerprint


def request(**document: Any) -> JobRequest:
    return read_job_request(document, Limits())


def test_short_form_long_form_and_defaults_are_equal_requests() -> None:
    short = request(operations=[["resize", "20x30"], "split"])
    long = request(
        operations=[{"op": "resize", "height": 30, "width": 20}, {"op": "split"}, {"op": "encode"}],
        output="jpg",
        quality=95,
        priority=0,
    )
    assert short.canonical() == long.canonical()
    assert fingerprint(short) == fingerprint(long)


def test_actions_without_names_have_the_fingerprint_that_version_0_1_0_gave_them() -> None:
    document = {"operations": [["split", True]], "output": "jpg"}
    (action,) = read_actions([json.dumps(document)], Limits())
    assert fingerprint(action) == fingerprint(request(**document))


@pytest.mark.parametrize(
    "change", [{"output": "png"}, {"quality": 94}, {"name": "x"}, {"labels": {"a": "b"}}, {"inputs": ["a"]}]
)
def test_every_change_of_meaning_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(request(operations=[["split", True]])) != fingerprint(
        request(operations=[["split", True]], **change)
    )


def test_the_stored_document_has_the_given_fields_without_plan_and_inputs() -> None:
    kept = request(operations=[["split", True]], inputs=["a.jpg"], name="delft", output="png").stored_document()
    assert kept == {"name": "delft", "output": "png", "source": "a.jpg"}


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", '"\\udc00"', "[" * 5_000 + "]" * 5_000, b"\xff", "1" * 5_000])
def test_json_is_read_strictly(text: str | bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_json(text)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


def test_actions_are_documents_and_lists_of_documents_in_their_order() -> None:
    one, two, three = ({"operations": [["resize", f"{n}x{n}"]]} for n in (1, 2, 3))
    read = read_actions([json.dumps([one, two]), json.dumps(three)], Limits())
    assert [action.plan.document()[0]["width"] for action in read] == [1, 2, 3]
    with pytest.raises(RequestError) as refused:
        read_actions([json.dumps([one] * 101)], Limits())
    assert refused.value.code == "too_many_actions"
