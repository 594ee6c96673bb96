"""A deadline on the page: given in the form's options, and shown against progress until the job has met it."""

from __future__ import annotations

from pathlib import Path

from browser_support import Server
from playwright.sync_api import Page, expect


def test_a_deadline_is_given_in_the_form_and_followed_on_the_jobs_page(
    page: Page, server: Server, drawn: list[Path]
) -> None:
    page.goto("/#/new")
    page.set_input_files("input[type=file]:not([webkitdirectory])", drawn)
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Deadline").fill("2h")
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/#/jobs/*")
    job = page.url.rpartition("/")[2]
    ended = server.wait(job)
    assert ended["deadline"] is not None
    shown = page.get_by_role("region", name="Progress").locator(".help")
    expect(shown).to_contain_text(": met")
    slow = server.submit(drawn * 20, [{"op": "pause", "secs": 0.25}], deadline="5s")
    page.goto(f"/#/jobs/{slow}")
    expect(page.locator(".timeline .due")).to_be_visible()
    expect(shown).to_contain_text("after it")
    expect(page.locator(".timeline .end.late")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".facts .badge")).to_have_text("cancelled")
