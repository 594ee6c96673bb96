"""Measure the web page in Chromium: how soon the form can be used over a slow network, and a job of 200,000 images.

Usage: measure_page.py [--images 200000] [--rounds 5]. Nothing is asserted; docs/web.md has figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from penstock.benchmark.http import RestClient
from penstock.local.server_process import find_free_port, serve

ROUND_TRIP_MS = 150
BYTES_PER_SECOND = 1_250_000
TIMEOUT_MS = 120_000
PAGES = 30
IMAGES_PER_PAGE = 48
NOTE_FORM = """new MutationObserver((_, observer) => {
  if (!document.querySelector("button[type=submit]")) return;
  observer.disconnect();
  requestAnimationFrame(() => { window.usableMs = performance.now(); });
}).observe(document, { childList: true, subtree: true });"""
NOTE_DELAYS = """window.delays = [];
new PerformanceObserver(list => window.delays.push(...list.getEntries().map(each => each.duration)))
  .observe({ type: "event", durationThreshold: 16, buffered: true });"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.images <= PAGES * IMAGES_PER_PAGE:
        parser.error(f"--images {options.images}: accepted is more than {PAGES * IMAGES_PER_PAGE}")
    chromium = os.environ.get("PENSTOCK_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("measure_page: chromium is not installed; PENSTOCK_TEST_CHROMIUM may name it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        lines = (f"city/{number:07}.jpg\n" for number in range(options.images))
        (folder / "in" / "many.txt").write_text("".join(lines))
        arguments = ["--data", str(folder / "data"), "--input-root", str(folder / "in")]
        running = serve(arguments, port=find_free_port(), log=folder / "log")
        with running as (url, _), RestClient(url) as client, sync_playwright() as playwright:
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            measure_start(browser, url, options.rounds)
            measure_large_job(browser, url, client)
            browser.close()
    return 0


def measure_start(browser: Browser, url: str, rounds: int) -> None:
    """Print after how long the form can be used, with an empty cache and then with a full one."""
    times: dict[str, list[float]] = {"empty cache": [], "full cache": []}
    for _ in range(rounds):
        context = browser.new_context(base_url=url)
        page = context.new_page()
        page.add_init_script(NOTE_FORM)
        network = {"offline": False, "latency": ROUND_TRIP_MS}
        speed = {"downloadThroughput": BYTES_PER_SECOND, "uploadThroughput": BYTES_PER_SECOND}
        context.new_cdp_session(page).send("Network.emulateNetworkConditions", {**network, **speed})
        for found in times.values():
            page.goto("/")
            page.wait_for_function("() => window.usableMs", timeout=TIMEOUT_MS)
            found.append(float(page.evaluate("window.usableMs")))
        context.close()
    for cache, found in times.items():
        print(f"form usable with {ROUND_TRIP_MS} ms per round trip, {cache}: {statistics.median(found):.0f} ms")


def measure_large_job(browser: Browser, url: str, client: RestClient) -> None:
    """Print how fast the page of a large job responds while its images fail."""
    document = {"operations": [["blur", "median"]], "inputs": [{"manifest": "many.txt"}], "name": "many"}
    answer = client.send("POST", "/v1/jobs", json.dumps(document).encode(), {"Content-Type": "application/json"})
    job = json.loads(answer)["id"]
    page = browser.new_page(base_url=url)
    page.set_default_timeout(TIMEOUT_MS)
    page.add_init_script(NOTE_DELAYS)
    started = time.perf_counter()
    page.goto(f"/#/jobs/{job}")
    page.locator(".tile").first.wait_for()
    print(f"job shown after {time.perf_counter() - started:.2f} s")
    click_through(page)
    delays = sorted(page.evaluate("window.delays"))
    slow = f"slowest {delays[-1]:.0f} ms" if delays else "none above 16 ms"
    print(f"{len(delays)} events above 16 ms in {PAGES} pages, {slow}")
    print(f"{page.evaluate('document.querySelectorAll(`*`).length')} elements")
    client.send("POST", f"/v1/jobs/{job}/cancel")


def click_through(page: Page) -> None:
    """Go through pages of images."""
    pages = page.get_by_role("navigation", name="Pages of images")
    for number in range(2, PAGES + 2):
        pages.get_by_role("button", name="Next").click()
        first = f"{IMAGES_PER_PAGE * (number - 1):07}.jpg"
        page.locator(".tile .name").first.and_(page.get_by_text(first, exact=True)).wait_for()


if __name__ == "__main__":
    sys.exit(main())
