"""The form for a new job: images dropped, picked or named, operations, and uploads that resume."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from browser_support import PageLog, Server
from playwright.sync_api import Page, Route, expect

from penstock.common.model.operations import BUILT_IN, BUILT_IN_GROUP_STEPS

PICKER = "input[type=file]:not([webkitdirectory])"
FOLDER_PICKER = "input[webkitdirectory]"
DROP = """async files => {
  const transfer = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), char => char.charCodeAt(0));
    transfer.items.add(new File([bytes], name, {type: "image/jpeg"}));
  }
  return transfer;
}"""


def drop(page: Page, files: dict[str, Path]) -> None:
    """Drop files as a file manager would."""
    given = [[name, base64.b64encode(path.read_bytes()).decode()] for name, path in files.items()]
    page.dispatch_event(".drop", "drop", {"dataTransfer": page.evaluate_handle(DROP, given)})


def add(page: Page, operation: str) -> None:
    page.get_by_role("button", name=f"+ {operation}").click()


def submit(page: Page) -> str:
    """Submit the form and return the id of the job whose page comes."""
    page.get_by_role("button", name="Submit job").click()
    page.wait_for_url("**/#/jobs/*")
    return page.url.rpartition("/")[2]


def show_options(page: Page) -> None:
    page.get_by_text("Options", exact=True).click()


def show_request(page: Page, language: str = "JSON") -> None:
    """Show the API request, once, in a language."""
    tab = page.get_by_role("tab", name=language)
    if not tab.is_visible():
        page.get_by_text("API request").click()
    tab.click()


def shown_document(page: Page) -> dict[str, Any]:
    return json.loads(page.get_by_role("region", name="JSON").text_content() or "")


def test_dropped_images_become_results_that_a_slider_compares(page: Page, server: Server, drawn: list[Path]) -> None:
    page.goto("/")
    drop(page, {path.name: path for path in drawn})
    expect(page.get_by_text("6 images,")).to_be_visible()
    add(page, "split")
    add(page, "blur")
    job = submit(page)
    expect(page.locator(".badge.done").first).to_have_text("succeeded")
    expect(page.locator(".tile .mosaic img")).to_have_count(24)
    assert [each["op"] for each in server.client.job(job)["operations"]] == ["resize", "split", "blur", "encode"]

    page.get_by_role("button", name="Compare photo-0000.jpg").click()
    slider = page.get_by_role("slider")
    expect(slider).to_have_value("50")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 5, box["y"] + 40, steps=4)
    page.mouse.up()
    assert 15 <= int(slider.input_value()) <= 25
    for image in page.get_by_role("dialog").locator("img").all():
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0


def test_quadrants_are_shown_where_they_were_cut(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:1], [["split", True], ["split", True]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    page.get_by_role("button", name="Compare").click()
    parts = page.get_by_role("dialog").locator(".after img")
    expect(parts).to_have_count(16)
    places = [(part.bounding_box(), part.get_attribute("src")) for part in parts.all()]
    in_order = [src for box, src in sorted(places, key=lambda place: (place[0]["y"], place[0]["x"]))]
    rows = [in_order[at : at + 4] for at in (0, 4, 8, 12)]
    numbers = [[int(str(src).rpartition("-")[2].removesuffix(".jpg")) for src in row] for row in rows]
    assert numbers == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    page.get_by_role("button", name="Side by side").click()
    expect(page.get_by_role("figure")).to_have_count(2)


def test_a_folder_is_uploaded_with_its_subfolders_and_images_only(
    page: Page, server: Server, drawn: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "delft"
    (folder / "north").mkdir(parents=True)
    for name in ("a.jpg", "north/b.jpg", "north/without-suffix"):
        shutil.copy(drawn[0], folder / name)
    (folder / "anim.gif").write_bytes(b"GIF89a" + bytes(20))
    page.goto("/")
    page.set_input_files(FOLDER_PICKER, folder)
    expect(page.get_by_role("region", name="Chosen files").get_by_role("listitem")).to_have_count(3)
    expect(page.get_by_text("1 file not sent: delft/anim.gif is GIF")).to_be_visible()
    show_options(page)
    page.get_by_label("Names of results").fill("{folder}/{stem}-{width}.{ext}")
    job = server.wait(submit(page))
    images = json.loads(server.client.send("GET", job["links"]["images"]))["images"]
    assert [image["name"] for image in images] == ["delft/a.jpg", "delft/north/b.jpg", "delft/north/without-suffix"]
    assert re.fullmatch(r"delft/a-[0-9]+\.jpg", images[0]["results"][0]["name"])


def test_a_hostile_name_is_shown_as_text_everywhere(page: Page, server: Server, drawn: list[Path]) -> None:
    name = "<img src=x onerror=document.title='owned'>.jpg"
    page.goto("/")
    drop(page, {name: drawn[0]})
    expect(page.get_by_role("region", name="Chosen files").get_by_text(name)).to_be_visible()
    show_options(page)
    page.get_by_label("Name", exact=True).fill("<script>document.title='owned'</script>")
    submit(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("<script>document.title='owned'</script>")
    expect(page.locator(".tile .name")).to_have_text(name)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(name)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Jobs").click()
    expect(page.locator(".job-row").first).to_contain_text("<script>")
    assert "owned" not in page.title()
    assert page.locator("img[src=x]").count() == 0


def test_a_custom_step_has_a_form(page: Page) -> None:
    page.goto("/")
    add(page, "brighten")
    amount = page.get_by_label("Amount")
    expect(amount).to_have_value("10")
    amount.fill("25")
    show_request(page)
    assert shown_document(page)["operations"][-1] == {"op": "brighten", "amount": 25}


def test_operations_are_dragged_and_removed(page: Page) -> None:
    page.set_viewport_size({"width": 1200, "height": 1800})  # all cards at once
    page.goto("/")
    add(page, "blur")
    add(page, "split")
    heads = page.locator(".operations h3")
    expect(heads).to_have_text(["Resize", "Blur", "Split into quadrants"])
    page.locator(".handle").nth(2).drag_to(page.locator(".operations li").nth(0), target_position={"x": 60, "y": 12})
    expect(heads).to_have_text(["Split into quadrants", "Resize", "Blur"])
    page.get_by_role("button", name="Remove resize").click()
    expect(heads).to_have_text(["Split into quadrants", "Blur"])


def test_every_built_in_operation_starts_with_values_that_a_job_accepts(
    page: Page, server: Server, drawn: list[Path]
) -> None:
    shutil.copy(drawn[0], server.inputs / drawn[0].name)
    page.goto("/")
    names = [name for name in BUILT_IN if name not in {"resize", "encode", *BUILT_IN_GROUP_STEPS}]
    for name in names:
        add(page, name)
    page.get_by_label("From a folder or bucket").check()
    page.get_by_label("Kind of input 1").select_option("File")
    page.get_by_label("Input 1", exact=True).fill(drawn[0].name)
    page.get_by_role("button", name="Check first").click()
    expect(page.get_by_text("1 image → 24 results")).to_be_visible()
    tile = page.locator(".operation", has=page.get_by_role("heading", name="tile"))
    tile.get_by_text("More options").click()
    for label, value in {"Columns": "", "Rows": "", "Width": "64", "Height": "64"}.items():
        tile.get_by_label(label).fill(value)
    page.get_by_role("button", name="Check first").click()
    expect(page.get_by_text("1 image → results by their sizes")).to_be_visible()


def test_the_shown_curl_command_submits_the_same_job(page: Page, server: Server, drawn: list[Path]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for path in drawn[:2]:
        shutil.copy(path, server.inputs / path.name)
    page.goto("/")
    page.get_by_label("From a folder or bucket").check()
    page.get_by_label("Input 1", exact=True).fill(".")
    page.get_by_label("Kind of input 1").select_option("File")
    page.get_by_label("Input 1", exact=True).fill(drawn[0].name)
    show_options(page)
    page.get_by_label("Name", exact=True).fill("it's a $(name)")
    page.get_by_role("button", name="Check first").click()
    expect(page.get_by_text("1 image → 1 result")).to_be_visible()
    show_request(page)
    document = shown_document(page)
    show_request(page, "curl")
    command = page.get_by_role("region", name="curl").text_content() or ""
    answer = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=20)
    job = json.loads(answer.stdout)
    assert (job["name"], document["inputs"]) == ("it's a $(name)", [drawn[0].name])
    again = server.client.job(submit(page))
    assert (again["name"], again["operations"]) == (job["name"], job["operations"])


def test_an_upload_resumes_after_a_lost_connection(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("Failed to load resource")
    broken: list[str] = []

    def break_some(route: Route) -> None:
        if len(broken) < 3:
            broken.append(route.request.url)
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/v1/uploads/*/files/**", break_some)
    page.goto("/")
    page.set_input_files(PICKER, drawn)
    job = server.wait(submit(page))
    assert len(broken) == 3
    assert (job["state"], job["images"]["done"]) == ("succeeded", 6)


def test_a_refused_job_shows_why_and_can_be_corrected(watched: tuple[Page, PageLog], drawn: list[Path]) -> None:
    page, log = watched
    log.expected.append("422")
    page.goto("/")
    page.get_by_label("From a folder or bucket").check()
    page.get_by_label("Input 1", exact=True).fill("nowhere")
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_role("alert").filter(has_text="nowhere")).to_be_visible()
    page.get_by_label("From this computer").check()
    page.set_input_files(PICKER, drawn[:1])
    submit(page)
    expect(page.locator(".tile")).to_have_count(1)


def test_a_refused_file_is_shown_before_the_job_is_submitted(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("422")
    page.goto("/")
    long = f"{'a' * 256}.jpg"
    drop(page, {"good.jpg": drawn[0], long: drawn[1]})
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_role("alert").filter(has_text="1 file was refused")).to_contain_text(long)
    job = server.wait(submit(page))
    assert job["images"]["total"] == 1


def test_what_is_no_image_is_named_at_once_and_not_sent(
    page: Page, server: Server, drawn: list[Path], tmp_path: Path
) -> None:
    gif, empty = tmp_path / "IMG_0042.jpg", tmp_path / "empty.png"
    gif.write_bytes(b"GIF89a" + bytes(600))
    empty.touch()
    page.goto("/")
    page.set_input_files(PICKER, [drawn[0], gif, empty])
    notice = page.get_by_text("2 files not sent")
    expect(notice).to_have_text("2 files not sent: IMG_0042.jpg is GIF, empty.png is empty")
    expect(page.get_by_text("1 image,")).to_be_visible()
    page.get_by_role("button", name="Dismiss").click()
    expect(notice).to_have_count(0)
    job = server.wait(submit(page))
    assert job["images"]["total"] == 1


def test_all_of_many_files_that_are_not_sent_are_named(page: Page, tmp_path: Path) -> None:
    others = [tmp_path / f"note {number:03}.txt" for number in range(200)]
    for path in others:
        path.write_text("no image")
    page.goto("/")
    page.set_input_files(PICKER, others[:5])
    notice = page.locator(".notice")
    expect(notice).to_contain_text("note 004.txt")
    expect(notice.locator("summary")).to_have_count(0)
    page.set_input_files(PICKER, others)
    expect(notice).to_contain_text("200 files not sent: note 000.txt")
    expect(notice).not_to_contain_text("note 005.txt")
    notice.get_by_text("and 195 more").click()
    rest = notice.get_by_role("region", name="More files not sent")
    expect(rest).to_contain_text("note 005.txt is no image of a known type")
    expect(rest.get_by_role("listitem").first).to_have_attribute("aria-setsize", "195")
    rest.evaluate("rest => rest.scrollTo(0, rest.scrollHeight)")
    expect(rest.get_by_text("note 199.txt")).to_be_in_viewport()
    page.get_by_role("button", name="Dismiss").click()
    expect(notice).to_have_count(0)


def test_a_stopped_upload_resumes_where_it_was(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("Failed to load resource")
    sent: list[str] = []
    held = True

    def hold_the_last(route: Route) -> None:
        if held and "photo-0005" in route.request.url:
            return  # left without an answer
        sent.append(route.request.url.rpartition("/")[2])
        route.continue_()

    page.route("**/v1/uploads/*/files/**", hold_the_last)
    page.goto("/")
    page.set_input_files(PICKER, drawn)
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_text("5 of 6 files")).to_be_visible()
    page.get_by_role("button", name="Stop sending").click()
    expect(page.get_by_role("button", name="Stop sending")).to_have_count(0)
    held = False
    job = server.wait(submit(page))
    assert (job["images"]["done"], sorted(sent)) == (6, [path.name for path in drawn])


def test_other_views_neither_stop_an_upload_nor_lose_the_form(page: Page, server: Server, drawn: list[Path]) -> None:
    held: list[Route] = []
    page.route("**/files/photo-0005.jpg", lambda route: held.append(route))
    page.goto("/")
    page.set_input_files(PICKER, drawn)
    show_options(page)
    page.get_by_label("Name", exact=True).fill("sent meanwhile")
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_text("5 of 6 files")).to_be_visible()
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("System")
    expect(page.locator(".new-job").get_by_text("5 of 6 files")).to_be_hidden()
    expect(page.locator(".toast")).to_contain_text("Sending 5 of 6 files")
    page.get_by_role("link", name="New job").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_text("5 of 6 files")).to_be_visible()
    page.get_by_role("link", name="Jobs").click()
    held[0].continue_()
    expect(page.locator(".job-row", has_text="sent meanwhile").locator(".badge")).to_have_text("succeeded")
    expect(page.locator(".toast")).to_contain_text("sent meanwhile was submitted.")
    page.get_by_role("link", name="New job").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("")
    expect(page.get_by_text("Choose images first.")).to_be_visible()


def test_the_browser_asks_before_it_leaves_a_running_upload(page: Page, drawn: list[Path]) -> None:
    page.route("**/v1/uploads/*/files/**", lambda route: None)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto("/")
    page.set_input_files(PICKER, drawn[:1])
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_text("0 of 1 file")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Choose images first.")).to_be_visible()
    assert asked == ["beforeunload"]
    page.reload()
    assert asked == ["beforeunload"]


def test_file_names_with_special_characters_of_curl_are_submitted_unchanged(
    page: Page, server: Server, drawn: list[Path], tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    names = ['a "quoted" one.jpg', "delft, north.jpg", "it's;type=text_html.jpg"]
    for name in names:
        shutil.copy(drawn[0], tmp_path / name)
    page.goto("/")
    page.set_input_files(PICKER, [tmp_path / name for name in names])
    show_options(page)
    page.get_by_label("Name", exact=True).fill("a;type=b")
    show_request(page)
    show_request(page, "curl")
    command = page.get_by_role("region", name="curl").text_content() or ""
    ran = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=20, cwd=tmp_path)
    job = server.wait(json.loads(ran.stdout)["id"])
    images = json.loads(server.client.send("GET", job["links"]["images"]))["images"]
    sent = [name.replace('"', "%22") for name in names]  # curl writes quotes as browsers do
    assert (job["name"], sorted(image["name"] for image in images)) == ("a;type=b", sent)


def test_a_file_deleted_after_it_was_chosen_is_reported(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path], tmp_path: Path
) -> None:
    page, log = watched
    log.expected.append("Failed to load resource")
    gone = tmp_path / "gone.jpg"
    shutil.copy(drawn[0], gone)
    page.goto("/")
    page.set_input_files(PICKER, [drawn[1], gone])
    expect(page.get_by_text("2 images,")).to_be_visible()
    gone.unlink()
    page.get_by_role("button", name="Submit job").click()
    refusal = page.get_by_role("alert").filter(has_text="1 file was refused")
    expect(refusal).to_contain_text("gone.jpg: it can no longer be read")
    assert server.wait(submit(page))["images"]["total"] == 1


def test_other_files_after_a_lost_response_make_another_job(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("Failed to load resource")
    lost: list[str] = []

    def lose_first(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch().json()["id"])
            route.abort("connectionreset")

    page.route("**/v1/jobs", lose_first)
    page.goto("/")
    page.set_input_files(PICKER, drawn[:2])
    page.get_by_role("button", name="Submit job").click()
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    page.set_input_files(PICKER, drawn[2:3])
    job = server.wait(submit(page))
    assert (job["images"]["total"], server.wait(lost[0])["images"]["total"]) == (3, 2)


def test_files_dropped_while_others_are_read_are_all_added(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".drop")).to_be_visible()
    page.evaluate(
        """() => {
          for (const name of ["a.jpg", "b.jpg"]) {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([Uint8Array.of(0xff, 0xd8, 0xff, 0xe0)], name));
            document.querySelector(".drop").dispatchEvent(new DragEvent("drop", {dataTransfer, cancelable: true}));
          }
        }"""
    )
    expect(page.get_by_text("2 images,")).to_be_visible()


def test_a_file_dropped_outside_of_the_drop_area_does_not_replace_the_page(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".drop")).to_be_visible()
    kept = page.evaluate(
        """() => ["dragover", "drop"].map(type => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["x"], "a.jpg"));
          const options = {dataTransfer, cancelable: true, bubbles: true};
          return !document.querySelector("h1").dispatchEvent(new DragEvent(type, options));
        })"""
    )
    assert kept == [True, True]


def test_very_many_parts_are_shown_only_up_to_a_limit(page: Page, server: Server, drawn: list[Path]) -> None:
    jobs = {splits: server.submit(drawn[:1], [["split", True]] * splits, output="png") for splits in (4, 5)}
    for splits, shown in ((4, 256), (5, 0)):
        server.wait(jobs[splits])
        page.goto(f"/#/jobs/{jobs[splits]}")
        expect(page.locator(".tile img")).to_have_count(1)
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("dialog").locator(".after img")).to_have_count(shown)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("dialog")).to_contain_text("1,024 parts are too many")


def test_the_form_starts_with_a_resize_that_keeps_the_aspect_ratio(
    page: Page, server: Server, drawn: list[Path]
) -> None:
    page.goto("/")
    page.set_input_files(PICKER, drawn[:1])
    page.get_by_label("Fit", exact=True).select_option("cover")
    page.locator(".operations").get_by_text("More options").click()
    page.get_by_label("Gravity").select_option("north-east")
    page.get_by_label("Width").fill("90")
    show_request(page)
    expected = {"op": "resize", "width": 90, "height": 512, "fit": "cover", "gravity": "north-east"}
    assert shown_document(page)["operations"] == [expected]
    page.get_by_text("Metadata, colour and reading").click()
    page.get_by_label("Mode").select_option("scaled")
    assert shown_document(page)["operations"] == [{"op": "decode", "mode": "scaled"}, expected]
    job = server.wait(submit(page))
    assert job["operations"][:2] == [{"op": "decode", "mode": "scaled"}, expected]
    assert job["images"]["done"] == 1


def test_a_wrong_value_in_a_closed_fold_is_shown_and_not_sent(page: Page, drawn: list[Path]) -> None:
    page.goto("/")
    page.set_input_files(PICKER, drawn[:1])
    labels, priority = page.get_by_label("Labels"), page.get_by_label("Priority")
    for field, value in ((labels, "city"), (labels, "=delft"), (labels, "city=delft, city=leiden"), (priority, "1.5")):
        show_options(page)
        field.fill(value)
        show_options(page)
        expect(field).to_be_hidden()
        page.get_by_role("button", name="Submit job").click()
        expect(field).to_be_visible()
        expect(field).to_be_focused()
        assert page.url.endswith("/")
        field.fill("")
        show_options(page)
    show_options(page)
    labels.fill("city=delft, city=leiden")
    problem = labels.evaluate("input => input.validationMessage")
    assert problem == "city is given twice. A job has one value of each label."
    labels.fill("city=delft, eq=a=b, empty=")
    submit(page)
    expect(page.get_by_text("city=delft")).to_be_visible()


def test_names_that_a_server_refuses_are_named_at_once(page: Page, drawn: list[Path]) -> None:
    page.goto("/")
    drop(page, {"two\nlines.jpg": drawn[0], "back\\slash.jpg": drawn[1], "fine.jpg": drawn[2]})
    notice = page.locator(".notice")
    expect(notice).to_contain_text("2 files not sent")
    expect(notice).to_contain_text("named with a backslash or a control character")
    submit(page)
    expect(page.locator(".tile .name")).to_have_text("fine.jpg")


def test_files_and_folders_that_the_browser_cannot_read_are_all_named(page: Page, drawn: list[Path]) -> None:
    page.goto("/")
    page.evaluate(
        """() => {
          const fail = (resolve, reject) => reject(new DOMException("gone", "NotFoundError"));
          DataTransferItem.prototype.webkitGetAsEntry = function () {
            const {name} = this.getAsFile();
            const reader = {readEntries: fail};
            return {isFile: name.endsWith(".jpg"), fullPath: `/${name}`, file: fail, createReader: () => reader};
          };
        }"""
    )
    drop(page, {"gone.jpg": drawn[0], "gone": drawn[1]})
    expect(page.locator(".notice")).to_contain_text("2 files not sent: gone.jpg is unreadable, gone is unreadable")


def test_a_number_is_typed_key_by_key_with_a_decimal_point_or_comma(page: Page) -> None:
    page.goto("/")
    add(page, "blur")
    sigma = page.get_by_label("Sigma")
    show_request(page)
    for typed, value in (("1.5", 1.5), ("0.05", 0.05), ("12", 12), ("1,5", 1.5), ("0,05", 0.05)):
        sigma.fill("")
        sigma.press_sequentially(typed)
        expect(sigma).to_have_value(typed.replace(",", "."))
        assert shown_document(page)["operations"][-1]["sigma"] == value
    sigma.fill("")
    page.keyboard.insert_text("2,25")  # as pasting does
    expect(sigma).to_have_value("2.25")
    assert shown_document(page)["operations"][-1]["sigma"] == 2.25
    show_options(page)
    priority = page.get_by_label("Priority")
    priority.press_sequentially("1,5")
    expect(priority).to_have_value("1.5")
    assert not priority.evaluate("input => input.validity.valid"), "it is an integer"
