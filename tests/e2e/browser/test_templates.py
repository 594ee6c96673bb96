"""Presets, jobs as the start of other jobs, several outputs, and browsing of the server's folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from browser_support import Server
from playwright.sync_api import Page, expect

PICKER = "input[type=file]:not([webkitdirectory])"


def submit(page: Page, server: Server) -> dict[str, object]:
    """Submit the form and return the job when it has ended."""
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/#/jobs/*")
    return server.wait(page.url.rpartition("/")[2])


def test_a_preset_is_saved_used_and_deleted(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="+ Blur").click()
    page.get_by_label("Method").select_option("Without specks (median)")
    page.get_by_label("Format").select_option("WebP")
    page.get_by_role("button", name="Presets").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name of the preset").fill("Für <i>Delft")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("listitem")).to_contain_text(["Für <i>Delft"])
    dialog.get_by_label("Name of the preset").fill("Für <i>Delft")
    expect(dialog.get_by_role("button", name="Replace")).to_be_visible()
    page.reload()
    expect(page.locator(".operations h3")).to_have_text(["Resize"])
    page.get_by_role("button", name="Presets").click()
    dialog.get_by_role("button", name="Use Für").click()
    expect(page.locator(".operations h3")).to_have_text(["Resize", "Blur"])
    expect(page.get_by_label("Method")).to_have_value("median")
    expect(page.get_by_label("Format")).to_have_value("webp")
    page.get_by_role("button", name="Presets").click()
    delete = dialog.get_by_role("button", name="Delete Für")
    question = page.get_by_role("alertdialog", name="Delete Für <i>Delft?")
    delete.click()
    expect(question.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_have_count(0)
    expect(delete).to_be_focused()
    delete.click()
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    expect(delete).to_be_focused()
    delete.click()
    question.get_by_role("button", name="Delete it").click()
    expect(dialog.get_by_text("No presets yet.")).to_be_visible()


def test_names_that_a_preset_cannot_have_are_refused_and_kept(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Presets").click()
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_label("Name of the preset")
    for refused in (".", "..", "a/b"):
        name.fill(refused)
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_have_text(
            "The name of a preset cannot have a slash, nor be . or .. alone."
        )
        expect(name).to_have_value(refused)
    name.fill("a#b?c %2F <b>")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_be_empty()
    expect(name).to_have_value("")
    dialog.get_by_role("button", name="Delete a#b?c %2F <b>").click()
    page.get_by_role("button", name="Delete it").click()
    expect(dialog.get_by_text("No presets yet.")).to_be_visible()


def test_a_preset_of_another_program_is_read_by_the_server(page: Page, server: Server) -> None:
    body = b'{"operations": [["resize", "cover:200x100"], ["blur", "bilateral"]], "output": "png"}'
    server.client.send("PUT", "/v1/presets/short", body, {"Content-Type": "application/json"})
    page.goto("/")
    page.get_by_role("button", name="Presets").click()
    page.get_by_role("button", name="Use short").click()
    expect(page.locator(".operations h3")).to_have_text(["Resize", "Blur"])
    expect(page.get_by_label("Fit")).to_have_value("cover")
    expect(page.get_by_label("Width")).to_have_value("200")
    expect(page.get_by_label("Format")).to_have_value("png")
    outputs = [{"name": "thumb", "operations": [["resize", "32x"]], "output": "webp"}, {"name": "whole", "quality": 70}]
    body = json.dumps({"outputs": outputs, "output": "avif"}).encode()
    server.client.send("PUT", "/v1/presets/short", body, {"Content-Type": "application/json"})
    page.get_by_role("button", name="Presets").click()
    expect(page.get_by_role("dialog").get_by_role("listitem")).to_contain_text("thumb")
    page.get_by_role("button", name="Use short").click()
    made = page.get_by_role("list", name="Outputs", exact=True).locator("> li")
    expect(made).to_have_count(2)
    expect(made.nth(0).get_by_label("Width")).to_have_value("32")
    assert [made.nth(index).get_by_label("Format").input_value() for index in (0, 1)] == ["webp", "avif"]
    expect(made.nth(1).get_by_label("Quality")).to_have_value("70")
    server.client.send("DELETE", "/v1/presets/short")


def test_a_job_is_run_again_with_other_operations(page: Page, server: Server, drawn: list[Path]) -> None:
    first = server.wait(server.submit(drawn[:3], [["split", True]], output="webp", name="first of two"))
    page.goto(f"/#/jobs/{first['id']}")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Run again with…").click()
    expect(page.get_by_text("The 3 images of first of two")).to_be_visible()
    expect(page.locator(".operations h3")).to_have_text(["Split into quadrants"])
    expect(page.locator(".estimate")).to_contain_text("3 images → 12 results")
    page.get_by_role("button", name="Remove Split into quadrants").click()
    page.get_by_role("button", name="+ Rotate").click()
    expect(page.locator(".estimate")).to_contain_text("3 images → 3 results")
    second = submit(page, server)
    assert (second["state"], second["images"]["total"], second["name"]) == ("succeeded", 3, "first of two")
    assert [each["op"] for each in second["operations"]] == ["rotate", "encode"]


def test_a_job_is_a_template_for_other_images(page: Page, server: Server, drawn: list[Path]) -> None:
    first = server.wait(server.submit(drawn[:1], [["blur", "median,aperture=7"]], labels={"city": "lund"}))
    page.goto("/#/jobs")
    page.get_by_label(f"Choose {first['id']}").check()
    page.get_by_role("link", name="Use as template").click()
    expect(page.get_by_label("Aperture")).to_have_value("7")
    assert page.url.endswith("/#/")
    page.set_input_files(PICKER, drawn[1:3])
    second = submit(page, server)
    assert (second["labels"], second["images"]["total"]) == ({"city": "lund"}, 2)


def test_a_folder_of_the_server_is_chosen_by_browsing(page: Page, server: Server, drawn: list[Path]) -> None:
    folder = server.inputs / "browsed" / "north"
    folder.mkdir(parents=True)
    for path in drawn[:2]:
        shutil.copy(path, folder / path.name)
    page.goto("/")
    page.get_by_label("From a folder or bucket").check()
    page.get_by_role("button", name="Browse for input 1").click()
    dialog = page.get_by_role("dialog")
    for name in (".", "browsed", "north"):
        dialog.get_by_role("button", name=name, exact=True).click()
    expect(dialog.get_by_role("button", name="Choose photo-")).to_have_count(2)
    dialog.get_by_role("button", name="browsed").click()  # back, by the path
    dialog.get_by_role("button", name="north").click()
    dialog.get_by_role("button", name="Choose this folder").click()
    expect(page.get_by_label("Input 1", exact=True)).to_have_value("browsed/north/")
    assert submit(page, server)["images"]["total"] == 2


def test_outputs_are_added_and_a_job_with_them_is_a_template(page: Page, server: Server, drawn: list[Path]) -> None:
    page.goto("/")
    page.set_input_files(PICKER, drawn[:2])
    page.get_by_role("button", name="+ Rotate").click()
    page.get_by_role("button", name="Move Rotate up").click()
    page.get_by_role("button", name="+ Add output").click()
    expect(page.locator(".operations h3")).to_have_text(["Rotate", "Resize", "Resize"])
    outputs = page.get_by_role("list", name="Outputs", exact=True).locator("> li")
    expect(page.get_by_role("heading", name="Shared operations")).to_be_visible()
    expect(outputs).to_have_count(2)
    outputs.nth(0).get_by_label("Name").fill("whole")
    outputs.nth(0).get_by_role("button", name="Remove Resize").click()
    outputs.nth(1).get_by_label("Name").fill("thumb")
    outputs.nth(1).get_by_label("Width").fill("40")
    outputs.nth(1).get_by_label("Format").select_option("WebP")
    page.get_by_role("button", name="+ Add output").click()
    outputs.nth(2).get_by_label("Name").fill("quarters")
    outputs.nth(2).get_by_role("button", name="Remove Resize").click()
    outputs.nth(2).get_by_role("button", name="+ Split into quadrants").click()
    expect(page.locator(".estimate")).to_contain_text("2 images, 3 outputs each → 12 results")
    page.get_by_label("Output", exact=True).select_option("quarters")
    expect(page.locator(".sizes")).to_contain_text("in 4 parts")
    page.get_by_label("Output", exact=True).select_option("thumb")
    expect(page.locator(".sizes")).to_contain_text("→ 40×")
    first = submit(page, server)
    assert (first["state"], first["images"]["total"]) == ("succeeded", 6)
    assert [each["op"] for each in first["operations"]] == ["rotate"]
    made = [(each["name"], [operation["op"] for operation in each["operations"]]) for each in first["outputs"]]
    assert made == [("whole", ["encode"]), ("thumb", ["resize", "encode"]), ("quarters", ["split", "encode"])]

    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Use as template").click()
    expect(outputs).to_have_count(3)
    expect(outputs.nth(1).get_by_label("Width")).to_have_value("40")
    expect(outputs.nth(1).get_by_label("Format")).to_have_value("webp")
    expect(outputs.nth(2).get_by_label("Name")).to_have_value("quarters")
    outputs.nth(0).get_by_role("button", name="Remove output whole").click()
    page.set_input_files(PICKER, drawn[2:3])
    second = submit(page, server)
    assert second["outputs"] == [{**each, "done": 1} for each in first["outputs"][1:]]
    assert second["operations"] == first["operations"]

    page.goto(f"/#/again/{second['id']}")
    expect(page.get_by_text("The 1 image of")).to_be_visible()
    for name in ("thumb", "quarters"):
        page.get_by_role("button", name=f"Remove output {name}").click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    expect(page.locator(".estimate")).to_contain_text("1 image → 1 result")
