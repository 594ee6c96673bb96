"""`Client` and `AsyncClient`: generated from one source, and documented completely."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import penstock.client
from penstock.client import AsyncClient, Client

ROOT = Path(__file__).parents[3]
OTHER_NAMES = {"close": "aclose"}


def public(client: type) -> dict[str, Any]:
    return {name: member for name, member in vars(client).items() if not name.startswith("_")}


def test_the_blocking_client_is_up_to_date_with_its_source() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "make_sync_client.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_have_the_same_methods() -> None:
    assert {OTHER_NAMES.get(name, name) for name in public(Client)} == set(public(AsyncClient))


@pytest.mark.parametrize("name", [name for name, member in public(Client).items() if inspect.isfunction(member)])
def test_a_method_of_both_returns_the_same_except_that_one_is_asynchronous(name: str) -> None:
    blocking, asynchronous = getattr(Client, name), getattr(AsyncClient, OTHER_NAMES.get(name, name))
    returned = inspect.signature(blocking).return_annotation
    iterates = returned.startswith("Iterator[")
    expected = re.sub(r"\b(?<!\.)(Job|Iterator)\b", r"Async\1", returned)
    assert inspect.signature(asynchronous).return_annotation == expected
    assert inspect.iscoroutinefunction(asynchronous) != iterates
    assert not inspect.iscoroutinefunction(blocking)


def test_the_documentation_names_every_method_and_every_public_name() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    methods = {name for name, member in public(Client).items() if inspect.isfunction(member)} - {"send"}
    assert [name for name in sorted(methods) if not re.search(rf"`[^`]*\b{name}\b", page)] == []
    assert [name for name in penstock.client.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_every_public_name_can_be_imported() -> None:
    for name in penstock.client.__all__:
        assert getattr(penstock.client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Clients'"):
        penstock.client.Clients  # noqa: B018
