"""Accessibility: axe's rules, keyboard, narrow screens, dark mode; and no requests to other sites."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from accessibility import find_violations, measure_width
from browser_support import OpenPage, Server
from playwright.sync_api import Page, expect

from penstock.local.server_process import find_free_port

PHONE = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def job(server: Server, drawn: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished job with quadrants, a failed image with a long name, and an unreachable webhook."""
    bad = tmp_path_factory.mktemp("bad") / f"{'a-very-long-name-without-any-blank' * 5}.jpg"
    bad.write_bytes(drawn[0].read_bytes()[:2000])
    webhook = {"url": f"http://127.0.0.1:{find_free_port()}/"}
    operations = [["resize", "200x150"], ["split", True]]
    submitted: str = server.submit([*drawn, bad], operations, name="north " * 20, webhook=webhook)
    server.wait(submitted)
    return submitted


def show_form(page: Page, job: str) -> None:
    page.goto("/")
    for operation in ("split", "blur", "brighten"):
        page.get_by_role("button", name=f"+ {operation}").click()
    for fold in ("API request", "Options"):
        page.get_by_text(fold, exact=True).click()
    image = cv2.imencode(".jpg", np.full((60, 80, 3), 90, np.uint8))[1].tobytes()
    page.set_input_files(
        "input[type=file]:not([webkitdirectory])",
        [
            {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": image},
            {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": b"x"},
        ],
    )
    expect(page.get_by_role("region", name="Chosen files")).to_be_visible()
    expect(page.locator(".sizes b")).to_be_visible()


def show_outputs(page: Page, job: str) -> None:
    show_form(page, job)
    for _ in range(2):
        page.get_by_role("button", name="+ Add output").click()
    expect(page.get_by_role("button", name="Remove output output-3")).to_be_visible()
    expect(page.locator(".sizes b")).to_be_visible()


def show_inputs(page: Page, job: str) -> None:
    page.goto("/")
    page.get_by_label("From a folder or bucket").check()
    page.get_by_role("button", name="+ Add input").click()


def show_jobs(page: Page, job: str) -> None:
    page.goto("/#/jobs")
    expect(page.locator(".job-row").first).to_be_visible()


def show_job(page: Page, job: str) -> None:
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".tile")).to_have_count(7)
    expect(page.locator(".failures li")).to_have_count(1)
    expect(page.get_by_role("region", name="Webhook")).to_contain_text("given up")


def show_deletion(page: Page, job: str) -> None:
    show_job(page, job)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("alertdialog")).to_be_visible()


def show_slider(page: Page, job: str) -> None:
    show_job(page, job)
    page.get_by_role("button", name="Compare photo-0001.jpg").click()
    page.get_by_text("Files and times").click()


def show_system(page: Page, job: str) -> None:
    page.goto("/#/system")
    expect(page.get_by_text("Idle, all steps are caught up")).to_be_visible()
    page.get_by_text("Last hour and workers").click()
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()


def show_choice(page: Page, job: str) -> None:
    show_job(page, job)
    page.get_by_role("button", name="Choose all shown").click()
    expect(page.get_by_role("group", name="Chosen images")).to_be_visible()


VIEWS = [
    show_form,
    show_outputs,
    show_inputs,
    show_jobs,
    show_job,
    show_slider,
    show_system,
    show_choice,
    show_deletion,
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_breaks_a_rule_of_axe(open_page: OpenPage, job: str, scheme: str) -> None:
    with open_page(color_scheme=scheme, reduced_motion="reduce") as (page, _):
        for show in VIEWS:
            show(page, job)
            assert find_violations(page) == [], show.__name__


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_and_a_job_break_no_rule_of_axe_on_a_phone(open_page: OpenPage, job: str, scheme: str) -> None:
    viewport = {"width": 375, "height": 812}
    with open_page(color_scheme=scheme, reduced_motion="reduce", viewport=viewport, has_touch=True) as (page, _):
        for show in (show_form, show_outputs, show_inputs, show_job, show_slider):
            show(page, job)
            page.evaluate("() => scrollTo(0, document.body.scrollHeight)")  # where the summary covers nothing
            assert find_violations(page) == [], show.__name__
            assert measure_width(page) <= viewport["width"], show.__name__


def test_no_view_is_wider_than_a_phone(open_page: OpenPage, job: str) -> None:
    with open_page(viewport=PHONE) as (page, _):
        for show in VIEWS:
            show(page, job)
            assert measure_width(page) <= PHONE["width"], show.__name__


def test_a_long_name_of_a_job_takes_two_lines_on_a_phone(
    open_page: OpenPage, server: Server, drawn: list[Path]
) -> None:
    name = "Aerial photographs of the north of Delft, without people and plates, " * 2 + "second attempt"
    job = server.client.post_job({"operations": [["blur", "median"]], "name": name}, drawn[:1])["id"]
    with open_page(viewport=PHONE) as (page, _):
        for path, shown in (
            (f"/#/jobs/{job}", page.get_by_role("heading", level=1)),
            ("/#/jobs", page.get_by_title(name)),
        ):
            page.goto(path)
            expect(shown).to_have_text(name)
            expect(shown).to_have_attribute("title", name)
            lines = shown.evaluate("name => name.clientHeight / parseFloat(getComputedStyle(name).lineHeight)")
            assert round(lines) == 2
            assert measure_width(page) <= PHONE["width"]


def test_the_colour_scheme_follows_the_system(open_page: OpenPage) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        with open_page(color_scheme=scheme) as (page, _):
            page.goto("/")
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2


def focus_by_tab(page: Page, name: str) -> None:
    """Press Tab until a control has the focus, and check that the focus is visible."""
    target = page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            assert target.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} is not reached by Tab")


def test_everything_can_be_done_by_keyboard(page: Page, server: Server, drawn: list[Path]) -> None:
    page.on("filechooser", lambda chooser: chooser.set_files(drawn[:2]))
    page.goto("/")
    heads = page.locator(".operations h3")
    expect(heads).to_have_text(["Resize"])
    focus_by_tab(page, "+ Blur")
    page.keyboard.press("Enter")
    expect(heads).to_have_text(["Resize", "Blur"])
    page.get_by_role("button", name="Move Blur up").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(heads).to_have_text(["Blur", "Resize"])
    assert page.evaluate("document.activeElement.ariaLabel") == "Move Blur up"
    expect(page.get_by_role("status").filter(has_text="Blur is now 1 of 2")).to_have_count(1)
    page.get_by_label("Method").press("Alt+ArrowDown")  # opens the list and moves nothing
    expect(heads).to_have_text(["Blur", "Resize"])
    page.get_by_label("Width").press("Alt+ArrowUp")
    expect(heads).to_have_text(["Resize", "Blur"])
    expect(page.get_by_label("Width")).to_be_focused()
    page.get_by_role("button", name="Move Blur up").press("Alt+ArrowUp")
    focus_by_tab(page, "Remove Blur")
    page.keyboard.press("Enter")
    expect(heads).to_have_text(["Resize"])
    page.keyboard.press("Shift+Tab")  # the focus was not lost with the removed card
    page.get_by_role("button", name="Choose files").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 images,")).to_be_visible()
    focus_by_tab(page, "Submit job")
    page.keyboard.press("Enter")
    expect(page.locator(".facts .badge")).to_have_text("succeeded")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    focus_by_tab(page, "Compare photo-0001.jpg")
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("51")
    focus_by_tab(page, "Close")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.ariaLabel") == "Compare photo-0001.jpg"


def test_views_have_titles_and_the_back_button_works(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_title("New job · Penstock")
    page.get_by_role("link", name="System").click()
    expect(page).to_have_title("System · Penstock")
    expect(page.get_by_role("link", name="System")).to_have_attribute("aria-current", "page")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("New job")


def test_the_api_page_loads_nothing_from_other_sites(page: Page) -> None:
    page.goto("/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    page.locator("#operations-system-listSteps").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text("bottleneck")
