"""What surrounds the views: shortcuts, the tab's icon and notifications; `/docs` and `/static/` in the same design."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from accessibility import find_violations, measure_width
from browser_support import OpenPage, Server
from playwright.sync_api import Page, expect

PHONE = {"width": 320, "height": 640}


def test_keys_open_views_and_the_sheet_lists_them(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".drop")).to_be_visible()
    for key, title in (("j", "Jobs"), ("s", "System"), ("n", "New job")):
        page.keyboard.press(key)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("njs?")
    expect(page.get_by_role("searchbox")).to_have_value("njs?")
    page.get_by_role("heading", level=1).focus()
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("Search jobs")
    sheet.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    sheet.get_by_label("Single-key shortcuts").check()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_have_text("New job")


def test_the_tab_shows_progress_and_a_notification_the_end(
    open_page: OpenPage, server: Server, drawn: list[Path]
) -> None:
    with open_page(permissions=["notifications"]) as (page, _):
        page.add_init_script(
            """document.hasFocus = () => false;
            window.notified = [];
            window.Notification = class { static permission = "granted";
              constructor(title, options) { window.notified.push([title, options.body]); } };"""
        )
        job = server.submit(drawn[:2], [["pause", 2.0]], name="slow")
        page.goto(f"/#/jobs/{job}")
        icon = page.locator("link[rel=icon]")
        expect(icon).to_have_attribute("href", re.compile(r"/progress/0\.svg$"))
        page.wait_for_function("() => window.notified.length === 1")
        assert page.evaluate("window.notified") == [["slow: succeeded", "2 of 2 images"]]
        expect(icon).to_have_attribute("href", re.compile(r"/icon\.svg$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_api_page_and_listings_break_no_rule_of_axe(
    open_page: OpenPage, server: Server, drawn: list[Path], scheme: str
) -> None:
    job = server.submit(drawn[:1], [["split", True]])
    server.wait(job)
    with open_page(color_scheme=scheme) as (page, _):
        for path in ("/static/", f"/static/{job}/processed/"):
            page.goto(path)
            assert find_violations(page) == [], path
        page.goto("/docs")
        page.locator("#operations-jobs-listJobs").click()
        expect(page.locator("#operations-jobs-listJobs .opblock-body")).to_be_visible()
        assert find_violations(page) == []


def test_listings_fit_a_phone_and_have_links_to_the_files(
    open_page: OpenPage, server: Server, drawn: list[Path]
) -> None:
    job = server.submit(drawn[:1], [["split", True]])
    server.wait(job)
    with open_page(viewport=PHONE) as (page, _):
        page.goto(f"/static/{job}/processed/")
        assert measure_width(page) <= PHONE["width"]
        path = page.get_by_role("link", name="photo-0000-3.jpg").get_attribute("href")
        picture = page.request.get(f"{server.url}{path}")
        assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
