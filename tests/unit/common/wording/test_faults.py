"""Faults: every error of a model in plain words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

import penstock
from penstock.common.wording.faults import FORMS, Fault, first_fault
from penstock.common.wording.suggestions import accepted_names, suggest


class Inner(BaseModel, extra="forbid"):
    prefix: str


class Other(BaseModel, extra="forbid"):
    manifest: str


class Document(BaseModel, extra="forbid"):
    count: Annotated[int, Field(ge=1, le=9)] = 1
    share: Annotated[float, Field(gt=0, lt=2, allow_inf_nan=False)] = 1
    on: bool = True
    kind: Literal["gaussian", "median"] = "median"
    only: Literal[1] = 1
    color: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")] = "#ffffff"
    other: Annotated[str, Field(pattern="^[q-z]+$")] = "z"
    length: Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?%$")] | None = None
    size: Literal["auto"] | Annotated[int, Field(le=64)] = "auto"
    text: Annotated[str, Field(min_length=2, max_length=4)] = "ab"
    texts: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    inputs: list[str | Inner | Other] = []
    key: str = ""

    @model_validator(mode="after")
    def _check(self) -> Document:
        if self.key == "odd":
            raise ValueError("a key is even")
        return self


def fault(document: Any, **options: Any) -> Fault:
    with pytest.raises(ValidationError) as caught:
        Document.model_validate(document)
    return first_fault(caught.value, document, **options)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("count", "x", "'x' is not accepted; accepted is a whole number"),
        ("count", 1.5, "1.5 is not accepted; accepted is a whole number"),
        ("count", 0, "0 is not accepted; accepted is 1 or more"),
        ("count", 10, "10 is not accepted; accepted is up to 9"),
        ("share", 0, "0 is not accepted; accepted is more than 0"),
        ("share", 2, "2 is not accepted; accepted is less than 2"),
        ("share", "much", "'much' is not accepted; accepted is a number"),
        ("share", float("inf"), "Infinity is not accepted; accepted is a finite number"),
        ("on", "maybe", "'maybe' is not accepted; accepted is true or false"),
        ("kind", "gausian", "'gausian' is not accepted; accepted are gaussian and median; did you mean gaussian?"),
        ("kind", None, "null is not accepted; accepted are gaussian and median"),
        ("only", 2, "2 is not accepted; accepted is 1"),
        ("color", "röt", "'röt' is not accepted; accepted is a colour as #rrggbb, such as #ffffff"),
        ("other", "a", "'a' is not accepted; accepted is a text of another form, see its description"),
        ("length", "5x", "'5x' is not accepted; accepted is a whole number, or a percentage, such as 25%"),
        ("size", "many", "'many' is not accepted; accepted is auto, or a whole number"),
        ("text", "a", "'a' is not accepted; accepted is 2 or more characters"),
        ("text", "a" * 99, f"'{'a' * 56}... is not accepted; accepted is up to 4 characters"),
        ("text", [], "[] is not accepted; accepted is a text"),
        ("texts", [], "[] is not accepted; accepted is 1 or more entries"),
        ("texts", "a", "'a' is not accepted; accepted is a list"),
        ("colour", 1, "there is no such field"),
    ],
    ids=str,
)
def test_a_fault_is_said_in_plain_words(field: str, value: Any, text: str) -> None:
    found = fault({field: value})
    assert (found.path, found.text) == ((field,), text)


def test_a_validators_own_words_stay() -> None:
    assert fault({"key": "odd"}).text == "a key is even"


def test_a_path_leads_to_what_was_sent() -> None:
    assert fault({"inputs": ["a", {"prefx": "b"}]}) == Fault(
        ("inputs", "1", "prefx"),
        "extra_forbidden",
        "there is no such field; accepted are prefix and manifest; did you mean prefix?",
    )
    assert fault({"inputs": [{"prefix": 5}]}).path == ("inputs", "0", "prefix")
    assert fault({"inputs": [5]}).text == "5 is not accepted; accepted is a text, or an object"


def test_a_secret_is_not_shown() -> None:
    assert fault({"key": 71}, secret=("key",)).text == "accepted is a text"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\u202e", "\ud800"])
def test_a_value_is_shown_on_one_line(text: str) -> None:
    assert fault({"count": text}).text.isprintable()


def test_every_form_of_a_text_is_described_in_words() -> None:
    """Nobody is shown a regular expression."""
    sources = Path(penstock.__file__).parent.rglob("*.py")
    given = {pattern for source in sources for pattern in re.findall(r"\bpattern=r?\"([^\"]+)\"", source.read_text())}
    assert given
    assert given | {"^#[0-9a-fA-F]{6}$"} == set(FORMS)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("gausian", "gaussian"), ("GAUSSIAN", "gaussian"), ("motion", None), (5, None), ("a" * 100, None), ("", None)],
)
def test_a_name_is_suggested_if_one_is_alike(given: object, meant: str | None) -> None:
    assert suggest(given, ["gaussian", "median"]) == meant


def test_accepted_names_are_listed_like_people_do() -> None:
    assert accepted_names("x", []) == "none is accepted"
    assert accepted_names("x", ["jpg"]) == "accepted is jpg"
    assert accepted_names("jpgg", ["jpg", "png", "webp"]) == "accepted are jpg, png and webp; did you mean jpg?"
