"""The preview of one chosen image, its thumbnails, and the summary with its estimate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser_support import PageLog, Server
from playwright.sync_api import Page, Request, expect

PICKER = "input[type=file]:not([webkitdirectory])"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image of 1024×768 pixels with some detail."""
    pixels = np.indices((768, 1024)).sum(axis=0).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), cv2.merge([pixels, pixels * 3, pixels * 7]))
    return path


def test_a_preview_shows_sizes_and_follows_each_change(page: Page, photo: Path) -> None:
    page.goto("/")
    page.set_input_files(PICKER, photo)
    sizes = page.locator(".preview .sizes")
    expect(sizes).to_have_text(re.compile(r"1024×768, \d+ kB → 512×384, \d+ kB, .\d+ %"))
    slider = page.get_by_label("Share of the preview that is shown as before")
    slider.press("ArrowRight")
    expect(slider).to_have_value("51")
    page.get_by_label("Width").fill("256")
    expect(sizes).to_contain_text("→ 256×192,")
    page.get_by_label("Fit").select_option("Fill and crop")
    page.get_by_label("Height").fill("256")
    expect(sizes).to_contain_text("→ 256×256,")
    expect(page.locator(".preview figure canvas")).to_have_count(2)  # other ratios are shown side by side


def test_a_part_of_several_results_is_chosen(page: Page, photo: Path) -> None:
    page.goto("/")
    page.set_input_files(PICKER, photo)
    page.get_by_role("button", name="+ Split").click()
    expect(page.locator(".preview .sizes")).to_contain_text(re.compile(r"→ 512×384, .* in 4 parts"))
    expect(page.get_by_label("Part")).to_have_value("-1")
    ratio = "canvas => canvas.width / canvas.height"
    assert page.locator(".preview canvas.after").evaluate(ratio) == pytest.approx(1024 / 768, abs=0.01)
    page.get_by_label("Part").select_option("3 of 4, 256×192")
    expect(page.locator(".preview .sizes")).to_contain_text("→ 256×192,")


def test_a_preview_says_in_words_why_there_is_none(page: Page, photo: Path) -> None:
    page.goto("/")
    page.set_input_files(PICKER, photo)
    page.get_by_label("Width").fill("")
    page.get_by_label("Height").fill("")
    expect(page.locator(".preview").get_by_role("alert")).to_contain_text("width and height")
    page.get_by_label("Width").fill("100")
    expect(page.locator(".preview .sizes")).to_contain_text("→ 100×75,")


def test_an_older_preview_is_not_shown_after_a_newer_one(page: Page, photo: Path) -> None:
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.failure or ""))
    page.route("**/v1/process?*256*", lambda route: None)  # is never answered
    page.goto("/")
    page.set_input_files(PICKER, photo)
    with page.expect_request("**/v1/process?*256*"):
        page.get_by_label("Width").fill("256")
    page.get_by_label("Width").fill("100")
    expect(page.locator(".preview .sizes")).to_contain_text("→ 100×75,")
    assert "net::ERR_ABORTED" in failed


def test_a_file_that_is_too_large_for_a_preview_is_not_sent(page: Page, photo: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(photo.read_bytes() + bytes(33_000_000))
    sent: list[Request] = []
    page.on("request", lambda request: "/v1/process" in request.url and sent.append(request))
    page.goto("/")
    page.set_input_files(PICKER, large)
    expect(page.get_by_text("too much for a preview")).to_contain_text("up to 32 MB")
    assert sent == []


def test_regions_of_a_sidecar_are_in_the_preview_and_the_job(
    page: Page, server: Server, photo: Path, tmp_path: Path
) -> None:
    sidecar = tmp_path / "photo.jpg.regions.json"
    sidecar.write_text(json.dumps([{"box": [10, 10, 100, 100], "label": "face"}]))
    page.goto("/")
    page.set_input_files(PICKER, [photo, sidecar])
    expect(page.get_by_text("1 image,")).to_contain_text("1 with regions")
    page.get_by_role("button", name="+ Blur").click()
    with page.expect_request("**/v1/process?*regions*") as asked:
        page.get_by_label("Method").select_option("Mosaic (pixelate)")
        page.locator(".operation", has_text="Blur").get_by_text("More options").click()
        page.get_by_label("Where").select_option("Regions only")
    assert "multipart/form-data" in asked.value.headers["content-type"]
    expect(page.locator(".preview .sizes b")).to_be_visible()
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/#/jobs/*")
    job = server.wait(page.url.rpartition("/")[2])
    assert (job["state"], job["images"]["total"]) == ("succeeded", 1)


def test_thumbnails_choose_the_image_of_the_preview(page: Page, drawn: list[Path]) -> None:
    page.goto("/")
    page.set_input_files(PICKER, drawn)
    first, third = (page.get_by_role("button", name=f"Preview {path.name}") for path in (drawn[0], drawn[2]))
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(third.locator("canvas")).not_to_have_js_property("width", 300)  # 300 is that of an empty canvas
    third.click()
    expect(third).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".preview-card .name")).to_have_text(drawn[2].name)
    page.get_by_role("button", name=f"Remove {drawn[2].name}").click()
    expect(page.locator(".preview-card .name")).to_have_text(drawn[0].name)


def test_the_summary_says_what_the_job_makes(page: Page, drawn: list[Path]) -> None:
    page.goto("/")
    page.set_input_files(PICKER, drawn)
    page.get_by_role("button", name="+ Split").click()
    expect(page.locator(".estimate")).to_contain_text("6 images → 24 results")


def test_what_the_server_refuses_is_said_before_anything_is_sent(
    watched: tuple[Page, PageLog], drawn: list[Path]
) -> None:
    page, _ = watched
    sent: list[str] = []
    page.on("request", lambda request: "/v1/uploads" in request.url and sent.append(request.url))
    page.goto("/")
    page.set_input_files(PICKER, drawn)
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Folder for results").fill("s3://other/out/")
    expect(page.locator(".summary").get_by_role("alert")).to_contain_text("s3://other/out")
    page.get_by_role("button", name="Submit job").click()
    expect(page.locator(".summary").get_by_role("alert")).to_contain_text("s3://other/out")
    assert sent == []


def test_a_field_appears_with_the_value_that_it_belongs_to(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="+ Blur").click()
    card = page.locator(".operation", has_text="Blur")
    expect(card.get_by_label("Sigma")).to_be_visible()
    expect(card.get_by_label("Diameter")).to_have_count(0)
    card.get_by_label("Method").select_option("Edge-preserving (bilateral, slow)")
    expect(card.get_by_label("Diameter")).to_have_value("9")
    expect(card.get_by_label("Sigma")).to_have_count(0)
    page.get_by_role("button", name="+ Split").click()
    expect(page.locator(".operation", has_text="Split").locator("input")).to_have_count(0)
