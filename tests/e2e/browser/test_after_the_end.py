"""After a job's end: its webhook is called, and the job can be deleted."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from browser_support import PageLog, Server
from playwright.sync_api import Page, expect
from webhook_receiver import running_receiver


def test_a_finished_job_shows_its_webhook_deliveries(page: Page, server: Server, drawn: list[Path]) -> None:
    with running_receiver(500) as receiver:
        hook = {"url": receiver.url()}
        job = server.submit(drawn[:2], [{"op": "pause", "secs": 0.25}], webhook=hook)
        page.goto(f"/#/jobs/{job}")
        webhook = page.get_by_role("region", name="Webhook")
        expect(webhook).to_contain_text(f"To http://127.0.0.1:{receiver.port}")
        expect(webhook.locator("summary")).to_contain_text("job.succeeded")
        expect(webhook.locator("summary")).to_contain_text("delivered 2 attempts")
        expect(webhook.get_by_role("listitem")).to_have_text([re.compile(" 500$"), re.compile("status 204$")])
        assert len(receiver.received) == 2
    assert "of-the-receiver" not in page.content()


def test_each_end_of_a_job_is_delivered_and_the_latest_is_shown_first(
    page: Page, server: Server, failing_images: list[Path]
) -> None:
    with running_receiver() as receiver:
        job = server.submit(failing_images, [{"op": "trip"}], webhook={"url": receiver.url()})
        server.wait(job)
        page.goto(f"/#/jobs/{job}")
        events = page.get_by_role("region", name="Webhook").locator("details")
        expect(events.locator(".badge")).to_have_text(["delivered"])
        page.get_by_role("button", name="Retry failed (1)").click()
        expect(events.locator(".badge")).to_have_text(["delivered", "delivered"])
        expect(events.nth(0)).to_have_attribute("open", "")
        expect(events.nth(1)).not_to_have_attribute("open", "")
        assert receiver.ids() == [f"{job}-0", f"{job}-1"]


def test_a_job_without_a_webhook_shows_none(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:1], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".tile")).to_have_count(1)
    expect(page.get_by_role("region", name="Webhook")).to_have_count(0)


def test_a_job_is_deleted_by_keyboard_after_a_confirmation(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("404")
    job = server.submit(drawn[:2], [["blur", "median"]], name="to be <b>deleted</b>")
    server.wait(job)
    page.goto("/#/jobs")
    page.get_by_role("link", name="to be <b>deleted</b>").click()
    menu, deletion = page.get_by_text("More", exact=True), page.get_by_role("button", name="Delete", exact=True)
    menu.focus()
    page.keyboard.press("Enter")
    deletion.press("Enter")
    question = page.get_by_role("alertdialog", name="Delete to be <b>deleted</b>?")
    expect(question).to_have_accessible_description(re.compile("2 images .* deleted for good"))
    for answer in ("Enter", "Escape"):
        expect(question.get_by_role("button", name="Keep it")).to_be_focused()
        page.keyboard.press(answer)
        expect(question).to_have_count(0)
        expect(menu).to_be_focused()
        page.keyboard.press("Enter")
        deletion.press("Enter")
    assert server.client.job(job)["state"] == "succeeded"

    expect(question.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Tab")
    expect(question.get_by_role("button", name="Delete it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    expect(page.locator(".job-row", has_text="to be <b>deleted</b>")).to_have_count(0)
    assert page.request.get(f"/v1/jobs/{job}").status == 404
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")


def test_only_a_finished_job_can_be_deleted(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn * 20, [{"op": "pause", "secs": 0.25}])
    page.goto(f"/#/jobs/{job}")
    deletion = page.get_by_role("button", name="Delete", exact=True)
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("link", name="Files")).to_be_visible()
    expect(deletion).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("More", exact=True).click()
    expect(deletion).to_be_visible()


def test_a_refused_deletion_shows_why(watched: tuple[Page, PageLog], server: Server, drawn: list[Path]) -> None:
    page, log = watched
    log.expected.append("404")
    job = server.submit(drawn[:1], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    server.client.delete_job(job)  # as by somebody else, meanwhile
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("alert").filter(has_text=job)).to_be_visible()


def test_the_viewer_says_what_a_result_lacks_of_its_image(page: Page, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((20, 30, 3), 40_000, np.uint16))
    job = server.submit([path], [["resize", "15x10"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    page.get_by_role("button", name="Compare deep.png").click()
    page.get_by_text("Files and times").click()
    expect(page.locator(".viewer-facts")).to_contain_text("depth reduced")
