"""`Client` and `AsyncClient` differ by `await` alone, and their page names all that they do."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import penstock.client
from penstock.client import AsyncClient, Client

OTHERWISE = {"close": "aclose"}
PAGE = Path(__file__).parents[3] / "docs" / "client.md"


def public(client: type) -> dict[str, Any]:
    return {name: member for name, member in vars(client).items() if not name.startswith("_")}


def parameters(method: Any) -> list[tuple[Any, ...]]:
    found = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in found]


def test_both_have_the_same_methods_and_are_made_alike():
    assert {OTHERWISE.get(name, name) for name in public(Client)} == set(public(AsyncClient))
    assert parameters(Client.__init__) == parameters(AsyncClient.__init__)
    assert isinstance(inspect.getattr_static(AsyncClient, "server"), property)


@pytest.mark.parametrize("name", [name for name, member in public(Client).items() if inspect.isfunction(member)])
def test_a_method_takes_and_gives_the_same_in_both(name):
    here, there = getattr(Client, name), getattr(AsyncClient, OTHERWISE.get(name, name))
    assert parameters(here) == parameters(there)
    gives = inspect.signature(here).return_annotation
    iterates = gives.startswith("Iterator[")
    assert inspect.signature(there).return_annotation == ("Async" if iterates else "") + gives
    assert inspect.iscoroutinefunction(there) != iterates


def test_their_page_names_every_method_and_everything_that_can_be_imported():
    page = PAGE.read_text()
    methods = {name for name, member in public(Client).items() if inspect.isfunction(member)} - {"send"}  # for the rest
    assert [name for name in sorted(methods) if not re.search(rf"`[^`]*\b{name}\b", page)] == []
    assert [name for name in penstock.client.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_what_can_be_imported_is_there():
    for name in penstock.client.__all__:
        assert getattr(penstock.client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Clients'"):
        penstock.client.Clients  # noqa: B018
