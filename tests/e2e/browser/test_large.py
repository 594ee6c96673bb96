"""A job of 200,000 images: the page stays small and responsive."""

from __future__ import annotations

import json
from pathlib import Path

from browser_support import Server
from playwright.sync_api import Page, expect

IMAGES = 200_000
MAX_NODES = 2_500


def count_nodes(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('*').length"))


def test_a_job_of_200_000_images_is_shown_in_pages(page: Page, server: Server) -> None:
    (server.inputs / "many.txt").write_text("".join(f"city/{number:06}.jpg\n" for number in range(IMAGES)))
    document = {"operations": [["blur", "median"]], "inputs": [{"manifest": "many.txt"}], "name": "many"}
    body = json.dumps(document).encode()
    job = json.loads(server.client.send("POST", "/v1/jobs", body, {"Content-Type": "application/json"}))["id"]
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".tile")).to_have_count(48)
    pages = page.get_by_role("navigation", name="Pages of images")
    for number in range(2, 5):
        pages.get_by_role("button", name="Next").click()
        expect(pages.get_by_text(f"Page {number}", exact=True)).to_be_visible()
        expect(page.locator(".tile .name").first).to_have_text(f"{48 * (number - 1):06}.jpg")
    pages.get_by_role("button", name="First").click()
    expect(page.locator(".tile .name").first).to_have_text("000000.jpg")
    expect(page.locator(".failures li")).to_have_count(20)
    assert count_nodes(page) < MAX_NODES
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".facts .badge")).to_have_text("cancelled")


def test_only_the_visible_rows_of_20_000_chosen_files_are_in_the_page(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".drop")).to_be_visible()
    page.evaluate(
        """count => {
          const transfer = new DataTransfer();
          const head = Uint8Array.of(0xff, 0xd8, 0xff);
          for (let number = 0; number < count; number += 1) transfer.items.add(new File([head], `${number}.jpg`));
          const picker = document.querySelector("input[type=file]:not([webkitdirectory])");
          picker.files = transfer.files;
          picker.dispatchEvent(new Event("change", {bubbles: true}));
        }""",
        IMAGES // 10,
    )
    expect(page.get_by_text("20,000 images,")).to_be_visible()
    chosen = page.get_by_role("region", name="Chosen files")
    chosen.evaluate("element => { element.scrollTop = element.scrollHeight; }")
    last = chosen.get_by_role("listitem").last
    expect(last).to_contain_text("19999.jpg")
    expect(last).to_have_attribute("aria-setsize", "20000")
    assert count_nodes(page) < MAX_NODES


def test_a_double_click_on_next_skips_no_page(page: Page, server: Server) -> None:
    (server.inputs / "some.txt").write_text("".join(f"{number:03}.jpg\n" for number in range(150)))
    document = {"operations": [["blur", "median"]], "inputs": [{"manifest": "some.txt"}]}
    body = json.dumps(document).encode()
    job = json.loads(server.client.send("POST", "/v1/jobs", body, {"Content-Type": "application/json"}))["id"]
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".tile")).to_have_count(48)
    pages = page.get_by_role("navigation", name="Pages of images")
    pages.get_by_role("button", name="Next").evaluate("button => { button.click(); setTimeout(() => button.click()); }")
    expect(page.locator(".tile .name").first).to_have_text("048.jpg")
    expect(pages.get_by_text("Page 2", exact=True)).to_be_visible()
    pages.get_by_role("button", name="Next").click()
    expect(page.locator(".tile .name").first).to_have_text("096.jpg")


def test_new_jobs_do_not_hide_others_between_two_pages(page: Page, server: Server, drawn: list[Path]) -> None:
    page.goto("/#/jobs")
    known = [server.submit(drawn[:1], [["blur", "median"]]) for _ in range(60)]
    first = page.locator(".job-row a").first
    expect(first).to_have_attribute("href", f"#/jobs/{known[-1]}")
    pages = page.get_by_role("navigation", name="Pages of jobs")
    pages.get_by_role("button", name="Next").click()
    expect(first).to_have_attribute("href", f"#/jobs/{known[9]}")
    newest = [server.submit(drawn[:1], [["blur", "median"]]) for _ in range(5)]
    pages.get_by_role("button", name="First").click()
    expect(first).to_have_attribute("href", f"#/jobs/{newest[-1]}")
    pages.get_by_role("button", name="Next").click()
    expect(first).to_have_attribute("href", f"#/jobs/{known[14]}")
