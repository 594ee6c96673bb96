"""Make the screenshots in docs/images with Chromium.

Sample images are used unless a folder of photographs is given: make screenshots ARGS=path/to/photographs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from penstock.benchmark.http import RestClient
from penstock.local.sample_images import write_images
from penstock.local.server_process import find_free_port, serve

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
VIEWPORT = {"width": 1120, "height": 840}
DRAWN = 24
TIMES = 12
TIMEOUT_MS = 120_000
QUADRANTS: dict[str, Any] = {
    "name": "delft",
    "operations": [["resize", "768x576"], ["split", True], ["blur", "updownsampling"]],
}
MORE: list[dict[str, Any]] = [
    {
        "name": "for the web",
        "operations": [["resize", "inside:1024x768"]],
        "output": "webp",
        "labels": {"city": "delft"},
    },
    {
        "name": "lund, north",
        "operations": [["resize", "640x"], ["adjust", "brightness=10"]],
        "labels": {"city": "lund"},
    },
]
LONG: dict[str, Any] = {
    "name": "delft, all of it",
    "operations": [["resize", "768x576"], ["blur", "bilateral"]],
}


def main(arguments: list[str]) -> int:
    chromium = os.environ.get("PENSTOCK_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("make_screenshots: chromium is not installed; PENSTOCK_TEST_CHROMIUM may name it", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = find_photos(Path(arguments[0])) if arguments else write_images(folder / "drawn", DRAWN, 1024, 768)
        data = ["--data", str(folder / "data")]
        running = serve(data, port=find_free_port(), log=folder / "log")
        with running as (url, _), RestClient(url) as client, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
            )
            expect.set_options(timeout=TIMEOUT_MS)
            page = browser.new_page(base_url=url, viewport=VIEWPORT, color_scheme="light", reduced_motion="reduce")
            page.set_default_timeout(TIMEOUT_MS)
            take_all(page, client, photos)
            browser.close()
    return 0


def find_photos(folder: Path) -> list[Path]:
    """Return the JPEGs of a folder, sorted; SystemExit if there are none."""
    found = sorted(folder.glob("*.jpg"))
    if not found:
        raise SystemExit(f"make_screenshots: no .jpg in {folder}")
    return found


def take_all(page: Page, client: RestClient, photos: list[Path]) -> None:
    """Take all screenshots while the server runs two jobs."""
    ended = client.post_job(QUADRANTS, photos)["id"]
    client.wait(ended, poll_secs=0.1)
    for document in MORE:
        client.wait(client.post_job(document, photos)["id"], poll_secs=0.1)
    take(page, "new-job", "/", show_form, photos)
    take(page, "slider", f"/#/jobs/{ended}", show_slider, photos)
    moving = client.post_job(LONG, photos * TIMES)["id"]
    take(page, "job", f"/#/jobs/{moving}", show_progress, photos)
    take(page, "jobs", "/#/jobs", show_jobs, photos)
    take(page, "system", "/#/system", show_system, photos)
    client.send("POST", f"/v1/jobs/{moving}/cancel")


def take(page: Page, name: str, path: str, show: Callable[[Page, list[Path]], None], photos: list[Path]) -> None:
    """Take a screenshot of a view after `show` has prepared it."""
    page.goto("about:blank")
    page.goto(path)
    show(page, photos)
    page.screenshot(path=IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


def show_form(page: Page, photos: list[Path]) -> None:
    page.set_input_files("input[type=file]:not([webkitdirectory])", photos)
    page.get_by_label("Name of the job").fill("delft")
    for operation in ("split", "blur"):
        page.get_by_role("button", name=f"+ {operation}").click()
    page.locator("h1").click()


def show_jobs(page: Page, _: list[Path]) -> None:
    expect(page.locator(".photo img").last).to_have_js_property("complete", True)


def show_slider(page: Page, photos: list[Path]) -> None:
    page.get_by_role("button", name=f"Compare {photos[1].name}").click()
    expect(page.get_by_role("dialog").locator(".sizes")).to_contain_text("→")
    for image in page.get_by_role("dialog").locator("img").all():
        expect(image).to_have_js_property("complete", True)


def show_progress(page: Page, _: list[Path]) -> None:
    page.locator(".steps li").last.get_by_text("done").wait_for()
    third = "() => parseFloat(document.querySelector('.segments.whole .done')?.style.width) > 33"
    page.wait_for_function(third, timeout=TIMEOUT_MS)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img')].slice(0, 12).every(each => each.complete)"
    )


def show_system(page: Page, photos: list[Path]) -> None:
    expect(page.locator(".step.held dd").nth(3)).not_to_have_text(f"{len(photos) * TIMES}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
