"""The viewer: its address, moving from image to image, zoom, and regions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from browser_support import Server
from playwright.sync_api import Page, expect


def test_the_viewer_has_an_address_and_goes_from_image_to_image(
    page: Page, server: Server, drawn: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    job = server.submit([*drawn[:2], tmp_path / "broken.jpg"], [["resize", "50%"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    page.get_by_role("button", name="Compare photo-0000.jpg").click()
    viewer = page.get_by_role("dialog")
    expect(page).to_have_url(re.compile(f"{job}/images/0$"))
    expect(viewer.locator(".sizes")).to_contain_text(re.compile(r"\d+×\d+, .* → \d+×\d+, .*%"))
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("heading")).to_have_text("photo-0001.jpg")
    viewer.get_by_role("button", name="Next").click()
    expect(viewer.get_by_role("heading")).to_have_text("broken.jpg")
    expect(viewer).to_contain_text("_image: ")
    expect(viewer.get_by_role("button", name="Next")).to_have_attribute("aria-disabled", "true")
    page.go_back()
    expect(viewer).to_have_count(0)
    expect(page).to_have_url(re.compile(f"{job}$"))

    page.goto(f"/#/jobs/{job}/images/1")
    expect(viewer.get_by_role("heading")).to_have_text("photo-0001.jpg")
    page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(page).to_have_url(re.compile(f"{job}$"))


def test_the_viewer_zooms_and_moves(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:1], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    slider = page.locator(".slider")
    before = slider.bounding_box()
    page.get_by_role("button", name="Larger").click()
    expect(page.locator(".stage")).to_have_class(re.compile("zoomed"))
    larger = slider.bounding_box()
    assert before is not None
    assert larger is not None
    assert larger["width"] == pytest.approx(2 * before["width"], abs=1)
    middle = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1] + 25, steps=3)
    page.mouse.up()
    moved = slider.bounding_box()
    assert moved is not None
    assert (moved["x"] - larger["x"], moved["y"] - larger["y"]) == (pytest.approx(40, abs=1), pytest.approx(25, abs=1))
    page.keyboard.press("0")
    expect(page.locator(".stage.zoomed")).to_have_count(0)
    assert slider.bounding_box() == before


def test_a_job_whose_operations_move_pixels_is_compared_side_by_side(
    page: Page, server: Server, drawn: list[Path]
) -> None:
    job = server.submit(drawn[:1], [["rotate", 90]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    expect(page.get_by_role("figure")).to_have_count(2)


def test_regions_are_drawn_over_the_result(page: Page, server: Server, drawn: list[Path], tmp_path: Path) -> None:
    photo, regions_file = tmp_path / "face.jpg", tmp_path / "face.regions.json"
    shutil.copy(drawn[0], photo)
    regions_file.write_text(json.dumps([{"box": [4, 5, 20, 10], "label": "face"}]))
    job = server.submit([photo, regions_file], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    regions = page.get_by_role("img", name="face", exact=True)
    expect(regions.locator("rect")).to_have_attribute("width", "20")
    page.get_by_role("button", name="Regions").click()
    expect(regions).to_have_count(0)
