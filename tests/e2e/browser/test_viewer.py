"""The viewer: its address, moving from image to image by keys and fingers, zoom, and regions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser_support import OpenPage, Server
from playwright.sync_api import FloatRect, Page, expect


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


Touch = Callable[..., None]


@pytest.fixture
def phone(open_page: OpenPage) -> Iterator[tuple[Page, Touch]]:
    """A page on a phone, and a function that moves fingers: each from a point to another."""
    with open_page(viewport={"width": 375, "height": 812}, has_touch=True) as (page, _):
        devtools = page.context.new_cdp_session(page)

        def touch(*fingers: tuple[float, float, float, float], steps: int = 5) -> None:
            for step in range(steps + 1):
                points = [
                    {"x": x + (to_x - x) * step / steps, "y": y + (to_y - y) * step / steps, "id": finger}
                    for finger, (x, y, to_x, to_y) in enumerate(fingers)
                ]
                kind = "touchMove" if step else "touchStart"
                devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        yield page, touch


def box_of(page: Page, selector: str) -> FloatRect:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box


def test_a_finger_swipes_to_the_next_image_or_moves_the_line(
    phone: tuple[Page, Touch], server: Server, drawn: list[Path]
) -> None:
    page, touch = phone
    job = server.submit(drawn[:2], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    title = page.get_by_role("dialog").get_by_role("heading")
    expect(page.locator(".sizes b")).to_be_visible()
    box = box_of(page, ".slider")
    y, right = box["y"] + 60, box["x"] + box["width"] - 20
    touch((right, y, right - 90, y))
    expect(title).to_have_text("photo-0001.jpg")
    expect(page.locator(".sizes b")).to_be_visible()
    touch((right - 90, y, right, y))
    expect(title).to_have_text("photo-0000.jpg")
    expect(page.locator(".sizes b")).to_be_visible()
    middle = box["x"] + box["width"] / 2
    touch((middle, y, middle - box["width"] / 4, y))
    expect(page.get_by_role("slider")).to_have_value("25")
    expect(title).to_have_text("photo-0000.jpg")


def test_two_fingers_zoom_and_one_moves_the_larger_image(
    phone: tuple[Page, Touch], server: Server, drawn: list[Path]
) -> None:
    page, touch = phone
    job = server.submit(drawn[:2], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    expect(page.locator(".sizes b")).to_be_visible()
    before = box_of(page, ".slider")
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    touch((x - 30, y, x - 90, y), (x + 30, y, x + 90, y))
    expect(page.locator(".stage.zoomed")).to_have_count(1)
    larger = box_of(page, ".slider")
    assert larger["width"] == pytest.approx(3 * before["width"], rel=0.02)
    touch((x, y, x + 50, y + 20))
    moved = box_of(page, ".slider")
    assert (moved["x"] - larger["x"], moved["y"] - larger["y"]) == (pytest.approx(50, abs=1), pytest.approx(20, abs=1))
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("photo-0000.jpg")
    touch((x - 90, y, x - 20, y), (x + 90, y, x + 20, y))
    expect(page.locator(".stage.zoomed")).to_have_count(0)


def test_images_side_by_side_are_swiped_as_well(phone: tuple[Page, Touch], server: Server, drawn: list[Path]) -> None:
    page, touch = phone
    job = server.submit(drawn[:2], [["rotate", 90]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    expect(page.get_by_role("figure")).to_have_count(2)
    box = box_of(page, ".beside")
    touch((box["x"] + 200, box["y"] + 60, box["x"] + 60, box["y"] + 60))
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("photo-0001.jpg")


def test_keys_still_work_after_a_click_on_the_image(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:2], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/0")
    expect(page.locator(".sizes b")).to_be_visible()
    box = box_of(page, ".slider")
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 30)
    expect(page.get_by_role("slider")).to_have_value("25")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("photo-0001.jpg")


def test_a_job_with_groups_shows_their_steps_and_results(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:3], [["resize", "50%"], ["gather", "folder:contact-sheet"]])
    assert server.wait(job)["state"] == "succeeded"
    page.goto(f"/#/jobs/{job}")
    steps = page.get_by_role("region", name="Steps")
    expect(steps).to_contain_text("gather: contact-sheet")
    expect(page.get_by_role("button", name="Compare contact-sheet")).to_be_visible()
    page.get_by_role("button", name="Compare photo-0002.jpg").click()
    viewer = page.get_by_role("dialog")
    viewer.get_by_role("button", name="Next").click()
    expect(viewer.get_by_role("heading")).to_have_text("contact-sheet")
    expect(viewer).to_contain_text("4 of 4")
    expect(page).to_have_url(re.compile(f"{job}/images/1073741824$"))
    expect(viewer.locator("img").first).to_be_visible()
    expect(viewer.locator("img.before")).to_have_count(0)
    expect(viewer.get_by_role("button", name="Next")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("ArrowLeft")
    expect(viewer.get_by_role("heading")).to_have_text("photo-0002.jpg")
