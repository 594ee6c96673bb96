"""A server that asks for a key: the way in, what is to be seen then, and the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import find_violations, measure_width
from playwright.sync_api import expect

from penstock.coordinator.auth.keys import make_key
from penstock.local.server_process import find_free_port, serve

TOKEN, KEY = make_key("delft")
PHONE = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that asks for a key."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = json.dumps([KEY.model_dump(exclude_defaults=True)])
    options = ["--data", str(folder / "data"), "--workers", "1"]
    running = serve(options, port=find_free_port(), environment={"PENSTOCK_API_KEYS": keys}, log=folder / "log")
    with running as (url, _):
        yield url


def test_a_browser_logs_in_works_and_logs_out(open_page: Callable[..., Any], guarded: str, drawn: list[Path]) -> None:
    with open_page(base_url=guarded) as (page, watch):
        watch.expected.append("401")
        page.goto("/#/jobs")
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        assert find_violations(page) == []
        page.set_viewport_size(PHONE)
        assert measure_width(page) <= PHONE["width"]
        page.get_by_label("API key").fill("pk_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("API key")
        page.get_by_label("API key").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("No job here yet")).to_be_visible()
        expect(page.locator(".who")).to_contain_text("delft")
        page.get_by_role("link", name="New job").click()
        page.set_input_files("input[type=file]:not([webkitdirectory])", drawn[:2])
        page.get_by_text("The same as JSON").click()
        expect(page.get_by_role("region", name="curl command")).to_contain_text("Bearer $PENSTOCK_API_KEY")
        assert TOKEN not in page.content()
        page.get_by_role("button", name="Submit job").click()
        expect(page.locator(".facts .badge")).to_have_text("succeeded")
        page.get_by_role("button", name="Compare photo-0000.jpg").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        assert page.context.cookies() == []


def test_a_session_that_ends_leads_back_to_the_door(open_page: Callable[..., Any], guarded: str) -> None:
    with open_page(base_url=guarded) as (page, watch):
        watch.expected.append("401")
        page.goto("/#/system")
        page.get_by_label("API key").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("System")
        page.context.clear_cookies()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
