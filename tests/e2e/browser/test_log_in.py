"""A server with API keys: login, session and logout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from accessibility import find_violations, measure_width
from browser_support import OpenPage
from playwright.sync_api import Route, expect

from penstock.coordinator.auth.keys import make_key
from penstock.local.server_process import find_free_port, serve

TOKEN, KEY = make_key("delft")
PHONE = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def server_with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with an API key."""
    folder = tmp_path_factory.mktemp("keys")
    keys = json.dumps([KEY.model_dump(exclude_defaults=True)])
    options = ["--data", str(folder / "data"), "--workers", "1"]
    running = serve(options, port=find_free_port(), environment={"PENSTOCK_API_KEYS": keys}, log=folder / "log")
    with running as (url, _):
        yield url


def test_a_browser_logs_in_submits_a_job_and_logs_out(
    open_page: OpenPage, server_with_keys: str, drawn: list[Path]
) -> None:
    with open_page(base_url=server_with_keys) as (page, log):
        log.expected.append("401")
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
        expect(page.get_by_text("No jobs yet.")).to_be_visible()
        expect(page.locator(".who")).to_contain_text("delft")
        page.get_by_role("link", name="New job").click()
        page.set_input_files("input[type=file]:not([webkitdirectory])", drawn[:2])
        page.get_by_text("API request").click()
        expect(page.get_by_role("region", name="curl")).to_contain_text("Bearer $PENSTOCK_API_KEY")
        assert TOKEN not in page.content()
        page.get_by_role("button", name="Submit job").click()
        expect(page.locator(".facts .badge")).to_have_text("succeeded")
        page.get_by_role("button", name="Compare photo-0000.jpg").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        assert page.context.cookies() == []


def test_an_expired_session_shows_the_login_again(open_page: OpenPage, server_with_keys: str) -> None:
    with open_page(base_url=server_with_keys) as (page, log):
        log.expected.append("401")
        page.goto("/#/system")
        page.get_by_label("API key").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("System")
        page.context.clear_cookies()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_what_was_refused_for_a_session_that_ended_is_asked_for_again(
    open_page: OpenPage, server_with_keys: str
) -> None:
    """The page preloads some of it, and the browser keeps refusals, too."""
    with open_page(base_url=server_with_keys) as (page, log):
        log.expected += ["401", "preload"]
        page.context.add_cookies([{"name": "penstock_session", "value": "ended", "url": server_with_keys}])
        page.goto("/")
        page.get_by_label("API key").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Submit job")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Log in")


def test_a_session_that_expires_loses_neither_the_form_nor_an_upload(
    open_page: OpenPage, server_with_keys: str, drawn: list[Path]
) -> None:
    with open_page(base_url=server_with_keys) as (page, log):
        log.expected.append("401")
        page.goto("/")
        page.get_by_label("API key").fill(TOKEN)
        page.keyboard.press("Enter")
        page.set_input_files("input[type=file]:not([webkitdirectory])", drawn)
        page.get_by_role("button", name="+ Blur").click()
        sent: list[str] = []

        def expire(route: Route) -> None:
            if len(sent) == 2:
                page.context.clear_cookies()
            sent.append(route.request.url)
            route.fallback()

        page.route("**/files/*", expire)
        page.get_by_role("button", name="Submit job").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        expect(page.get_by_role("button", name="Submit job")).to_be_hidden()
        page.get_by_label("API key").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_text(f"{len(drawn)} images,")).to_be_visible()
        expect(page.get_by_role("alert").filter(has_text="Submit again to continue.")).to_be_visible()
        page.get_by_role("button", name="Submit job").click()
        expect(page.locator(".facts .badge")).to_have_text("succeeded")
        expect(page.locator(".tile")).to_have_count(len(drawn))
        expect(page.locator(".facts").filter(has_text="blur").first).to_be_visible()
