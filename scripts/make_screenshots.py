"""Make the ten screenshots in docs/images with Chromium: from dropped images to results; light, dark, on a phone.

Sample images are used unless a folder of photographs is given: make screenshots ARGS=path/to/photographs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from penstock.benchmark.http import RestClient
from penstock.local.sample_images import write_images
from penstock.local.server_process import find_free_port, serve

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
VIEWPORT = {"width": 1200, "height": 840}
PHOTOS = 30
TIMES = 20
QUALITY = 84
PHONE = {"width": 375, "height": 812}
TIMEOUT_MS = 240_000
LOADED = (
    "() => [...document.querySelectorAll('.tile img')].filter(each => each.getBoundingClientRect().top < innerHeight)"
    ".every(each => each.complete && each.naturalWidth)"
)
QUADRANTS: dict[str, Any] = {
    "name": "street, quarters",
    "operations": [["resize", "768x576"], ["split", True], ["blur", "updownsampling"]],
}
MORE: list[dict[str, Any]] = [
    {
        "name": "for the web",
        "operations": [["resize", "inside:1024x768"]],
        "output": "webp",
        "labels": {"city": "lund"},
    },
    {
        "name": "brighter",
        "operations": [["resize", "640x"], ["adjust", "brightness=10"]],
        "labels": {"city": "lund"},
    },
]
LONG: dict[str, Any] = {
    "name": "street, all of it",
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
        photos = find_photos(Path(arguments[0])) if arguments else write_images(folder / "drawn", PHOTOS, 1024, 768)
        data = ["--data", str(folder / "data")]
        running = serve(data, port=find_free_port(), log=folder / "log")
        with running as (url, _), RestClient(url) as client, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
            )
            expect.set_options(timeout=TIMEOUT_MS)
            take_all(Camera(browser, url), client, photos)
            browser.close()
    return 0


def find_photos(folder: Path) -> list[Path]:
    """Return the JPEGs of a folder, sorted; SystemExit if there are none."""
    found = sorted(folder.glob("*.jpg"))
    if not found:
        raise SystemExit(f"make_screenshots: no .jpg in {folder}")
    return found[:PHOTOS]


@dataclass(frozen=True)
class Camera:
    """Opens a view of the server in a page of its own and takes its screenshot."""

    browser: Browser
    url: str

    def take(
        self,
        name: str,
        path: str,
        show: Callable[[Page, list[Path]], None],
        photos: list[Path],
        *,
        dark: bool = False,
        phone: bool = False,
        height: int = VIEWPORT["height"],
    ) -> None:
        """Take a screenshot of a view after `show` has prepared it."""
        scheme: Literal["dark", "light"] = "dark" if dark else "light"
        context = self.browser.new_context(
            base_url=self.url,
            viewport=PHONE if phone else {**VIEWPORT, "height": height},
            device_scale_factor=2 if phone else 1,
            has_touch=phone,
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.goto(path)
        show(page, photos)
        page.wait_for_function("() => document.fonts.status === 'loaded'")
        shown = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(IMAGES / f"{name}.webp"), shown, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        context.close()
        print(f"docs/images/{name}.webp")


def take_all(camera: Camera, client: RestClient, photos: list[Path]) -> None:
    """Take all screenshots, of a journey from dropped photographs to results, while the server runs its jobs."""
    take = camera.take
    take("start", "/", show_start, photos)
    take("new-job", "/", show_form, photos)
    take("new-job-phone", "/", show_form, photos, phone=True)
    for document in MORE:
        client.wait(client.post_job(document, photos)["id"], poll_secs=0.1)
    ended = client.post_job(QUADRANTS, photos)["id"]
    client.wait(ended, poll_secs=0.1)
    take("done", f"/#/jobs/{ended}", show_gallery, photos)
    take("done-dark", f"/#/jobs/{ended}", show_gallery, photos, dark=True)
    take("done-phone", f"/#/jobs/{ended}", show_gallery, photos, phone=True)
    take("viewer-dark", f"/#/jobs/{ended}/images/1", show_viewer, photos, dark=True)
    moving = client.post_job(LONG, photos * TIMES)["id"]
    take("job", f"/#/jobs/{moving}", show_progress, photos)
    take("system", "/#/system", show_system, photos)
    take("jobs", "/#/jobs", show_jobs, photos, height=460)
    client.send("POST", f"/v1/jobs/{moving}/cancel")


def show_start(page: Page, _: list[Path]) -> None:
    expect(page.get_by_role("button", name="Submit job")).to_be_visible()


def show_form(page: Page, photos: list[Path]) -> None:
    page.set_input_files("input[type=file]:not([webkitdirectory])", photos)
    for operation in ("split", "blur"):
        page.get_by_role("button", name=f"+ {operation}").click()
    expect(page.locator(".preview .sizes").first).to_contain_text("→")
    page.wait_for_timeout(2_000)  # for the thumbnails that the page draws itself
    page.evaluate("() => scrollTo(0, 0)")
    page.mouse.move(0, 0)


def show_jobs(page: Page, _: list[Path]) -> None:
    expect(page.locator(".photo img").first).to_be_visible()
    photos = "[...document.querySelectorAll('.photo img')]"
    page.wait_for_function(f"() => {photos}.every(each => each.complete && each.naturalWidth)", timeout=TIMEOUT_MS)


def show_gallery(page: Page, _: list[Path]) -> None:
    page.locator(".tile img").first.wait_for()
    page.wait_for_function(LOADED, timeout=TIMEOUT_MS)


def show_viewer(page: Page, _: list[Path]) -> None:
    expect(page.get_by_role("dialog").locator(".sizes")).to_contain_text("→")
    for image in page.get_by_role("dialog").locator("img").all():
        expect(image).to_have_js_property("complete", True)


def show_progress(page: Page, _: list[Path]) -> None:
    third = "() => parseFloat(document.querySelector('.segments.whole .done')?.style.width) > 20"
    page.wait_for_function(third, timeout=TIMEOUT_MS)
    page.wait_for_function(LOADED, timeout=TIMEOUT_MS)


def show_system(page: Page, _: list[Path]) -> None:
    page.locator(".step.held .sparkline polyline").first.wait_for()
    expect(page.get_by_role("region", name="Workers").locator("tbody tr").first).to_be_visible()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
