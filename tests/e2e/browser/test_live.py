"""The page updates itself: progress and end of a job, cancel, retry, the list of jobs, the system's steps."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from browser_support import OpenPage, PageLog, Server
from playwright.sync_api import Locator, Page, Route, expect

SEE = """seen => {
  Object.defineProperty(document, "hidden", {value: !seen, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def slow(server: Server) -> list[Any]:
    """Operations that take 0.25 s per image."""
    return [{"op": "pause", "secs": 0.25}]


def figure(page: Page, name: str) -> Locator:
    """Find the number under a label."""
    return page.locator(".figures div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def test_a_job_updates_by_itself_and_can_be_cancelled(
    page: Page, server: Server, drawn: list[Path], slow: list[Any]
) -> None:
    job = server.submit(drawn * 20, slow, name="slow")
    page.goto(f"/#/jobs/{job}")
    page.evaluate("() => { window.stayed = true; }")
    expect(page.locator(".badge.running").first).to_be_visible()
    seen = {figure(page, "Done").text_content()}
    expect(figure(page, "Done")).not_to_have_text(next(iter(seen)))
    expect(page.locator(".steps li").first).to_contain_text("running")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".facts .badge")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)
    assert server.wait(job)["state"] == "cancelled"
    assert page.evaluate("() => window.stayed")


def test_progress_resumes_after_a_lost_connection(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path], slow: list[Any]
) -> None:
    page, log = watched
    log.expected.append("Failed to load resource")
    broken: list[str] = []

    def break_first(route: Route) -> None:
        if broken:
            route.continue_()
        else:
            broken.append(route.request.url)
            route.abort("connectionreset")

    page.route("**/events", break_first)
    job = server.submit(drawn * 40, slow)
    page.goto(f"/#/jobs/{job}")
    expect(page.get_by_text("Connection lost")).to_have_count(1)
    expect(page.get_by_text("Connection lost")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".facts .badge")).to_have_text("cancelled")


def test_a_hidden_tab_holds_no_connection(page: Page, server: Server, drawn: list[Path], slow: list[Any]) -> None:
    job = server.submit(drawn * 20, slow)
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".steps li").first).to_contain_text("running")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
        page.evaluate(SEE, False)
    server.client.send("POST", f"/v1/jobs/{job}/cancel")
    expect(page.locator(".facts .badge")).to_have_text("running")
    page.evaluate(SEE, True)
    expect(page.locator(".facts .badge")).to_have_text("cancelled")


def test_a_job_that_another_tab_deleted_is_said_to_be_gone(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path], slow: list[Any]
) -> None:
    page, log = watched
    log.expected.append("404")
    job = server.submit(drawn, slow)
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".badge.running").first).to_be_visible()
    page.evaluate(SEE, False)
    server.client.send("POST", f"/v1/jobs/{job}/cancel")
    server.wait(job)
    server.client.send("DELETE", f"/v1/jobs/{job}")
    page.evaluate(SEE, True)
    expect(page.get_by_role("alert").filter(has_text=f"there is no job '{job}'").first).to_be_visible()


def test_failures_are_shown_first_with_advice_and_can_be_retried(
    page: Page, server: Server, failing_images: list[Path]
) -> None:
    job = server.submit(failing_images, [{"op": "trip"}])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    failures = page.get_by_role("region", name="1 image failed")
    expect(failures).to_contain_text("trips.png")
    expect(failures).to_contain_text("Retry")
    assert failures.bounding_box()["y"] < page.get_by_role("region", name="Images").bounding_box()["y"]
    page.get_by_role("button", name="Retry failed (1)").click()
    expect(page.get_by_text("retried once")).to_be_visible()
    server.wait(job)
    page.get_by_role("button", name="Retry trips.png").click()
    expect(page.get_by_text("retried 2 times")).to_be_visible()
    assert server.wait(job)["images"] | {"done": 1, "failed": 1} == server.wait(job)["images"]


def test_one_group_of_failures_is_retried(
    page: Page, server: Server, failing_images: list[Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    job = server.submit([*failing_images, cut], [{"op": "trip"}])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    page.get_by_role("button", name="Retry 1 image with internal").click()
    expect(page.get_by_text("retried once")).to_be_visible()
    assert server.wait(job)["run"] == 1


def test_a_cancelled_job_offers_no_retry(
    page: Page, server: Server, failing_images: list[Path], drawn: list[Path], slow: list[Any]
) -> None:
    job = server.submit([*failing_images, *drawn * 20], [{"op": "trip"}, *slow])
    page.goto(f"/#/jobs/{job}")
    expect(page.locator(".failures li")).to_have_count(1)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".facts .badge")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


def test_bad_files_get_their_own_advice_and_no_useless_retry(
    page: Page, server: Server, drawn: list[Path], tmp_path: Path
) -> None:
    cut, empty = tmp_path / "cut.jpg", tmp_path / "empty.jpg"
    cut.write_bytes(drawn[0].read_bytes()[:2000])
    empty.write_bytes(b"")
    job = server.submit([drawn[0], cut, empty], [["blur", "median"]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    groups = page.locator(".failures details")
    groups.locator("summary").nth(1).click()
    expect(groups.filter(has_text="cut.jpg")).to_contain_text("Send it again in a new job")
    expect(groups.filter(has_text="empty.jpg")).to_contain_text("The file is empty")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    page.get_by_label("Show", exact=True).select_option("failed")
    expect(page.locator(".tile")).to_have_count(2)


def test_results_are_downloaded_as_one_file(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:2], [["split", True]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download results").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert len(archive.namelist()) == 8


def test_the_list_of_jobs_updates_and_is_filtered_by_state(
    page: Page, server: Server, drawn: list[Path], slow: list[Any]
) -> None:
    job = server.submit(drawn[:4], slow, name="moving")
    page.goto("/#/jobs")
    row = page.locator(".job-row", has_text="moving")
    expect(row.locator(".badge")).to_have_text("succeeded")
    server.wait(job)
    page.get_by_label("State").select_option("running")
    expect(row).to_have_count(0)


def test_jobs_are_found_by_name_and_label_and_counted(page: Page, server: Server, drawn: list[Path]) -> None:
    for number in range(3):
        document = {
            "labels": {"batch": f"b{number}"},
            "operations": [["blur", "median"]],
            "name": f"Search me {number}",
        }
        server.client.post_job(document, drawn[:1])
    page.goto("/#/jobs")
    search = page.get_by_role("searchbox")
    search.fill("search ME")
    expect(page.get_by_text("3 jobs", exact=True)).to_be_visible()
    expect(page.locator(".job-row")).to_have_count(3)
    expect(page.locator(".job-row .ops .chip").first).to_have_text("blur median")
    search.fill("batch=b1")
    expect(page.locator(".job-row .title")).to_have_text(["Search me 1batch=b1"])
    search.fill("nothing has this name")
    expect(page.get_by_text("No job matches.")).to_be_visible()


def test_a_search_that_fails_shows_no_jobs_of_another(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("503")
    server.client.post_job({"operations": [["blur", "median"]], "name": "Found before"}, drawn[:1])
    page.goto("/#/jobs")
    search = page.get_by_role("searchbox")
    search.fill("found before")
    expect(page.locator(".job-row")).to_have_count(1)
    page.get_by_label("Choose Found before").check()
    down = {"detail": "the database is away"}
    page.route("**/v1/jobs?*search=other*", lambda route: route.fulfill(status=503, json=down))
    search.fill("other")
    expect(page.get_by_role("alert").filter(has_text="the database is away")).to_be_visible()
    expect(page.locator(".job-row")).to_have_count(0)
    expect(page.get_by_role("group", name="Chosen jobs")).to_have_count(0)
    expect(page.get_by_text("1 job", exact=True)).to_have_count(0)
    expect(page.get_by_text("No job matches.")).to_have_count(0)
    search.fill("found before")
    expect(page.locator(".job-row")).to_have_count(1)
    expect(page.get_by_text("the database is away")).to_have_count(0)
    page.route("**/v1/jobs?*search=found*", lambda route: route.fulfill(status=503, json=down))
    expect(page.get_by_text("the database is away")).to_be_visible()
    expect(page.locator(".job-row")).to_have_count(1)  # the same search has found it


def test_several_jobs_are_cancelled_and_deleted_at_once(
    page: Page, server: Server, drawn: list[Path], slow: list[Any]
) -> None:
    for number in range(3):
        server.submit(drawn * 20, slow, name=f"several {number}")
    page.goto("/#/jobs")
    page.get_by_role("searchbox").fill("several")
    expect(page.locator(".job-row")).to_have_count(3)
    page.get_by_label("All jobs of this page").check()
    page.get_by_label("Choose several 1").uncheck()
    chosen = page.get_by_role("group", name="Chosen jobs")
    expect(chosen).to_contain_text("2 jobs chosen")
    chosen.get_by_role("button", name="Cancel (2)").click()
    expect(page.locator(".job-row .badge", has_text="cancelled")).to_have_count(2)
    page.get_by_label("Choose several 0").check()
    chosen.get_by_role("button", name="Delete (1)").click()
    page.get_by_role("button", name="Delete them").click()
    expect(page.locator(".job-row")).to_have_count(2)
    page.get_by_label("Choose several 1").check()
    chosen.get_by_role("button", name="Cancel (1)").click()
    expect(page.locator(".job-row .badge", has_text="cancelled")).to_have_count(2)


def test_the_system_shows_the_bottleneck_and_advice(
    page: Page, server: Server, drawn: list[Path], slow: list[Any]
) -> None:
    job = server.submit(drawn * 30, slow)
    page.goto("/#/system")
    expect(page.get_by_role("heading", name="Bottleneck: pause")).to_be_visible()
    expect(page.locator(".step.held")).to_contain_text("pause")
    expect(page.locator(".step.held")).to_contain_text("images/s")
    expect(page.locator(".step.held .sparkline polyline")).to_have_count(4)
    expect(page.get_by_role("region", name="Workers").locator("tbody tr")).to_have_count(2)
    expect(page.get_by_role("region", name="Workers").get_by_text("pause", exact=True).first).to_be_visible()
    expect(page.get_by_role("region", name="Bottleneck: pause")).to_contain_text("of work waiting")
    server.client.send("POST", f"/v1/jobs/{job}/cancel")
    expect(page.get_by_text("Idle, all steps are caught up")).to_be_visible()
    expect(page.get_by_role("heading", name="Workers")).to_be_hidden()


def test_the_command_that_adds_replicas_can_be_copied(open_page: OpenPage) -> None:
    with open_page(permissions=["clipboard-read", "clipboard-write"]) as (page, _):
        command = "kubectl scale deployment/penstock-blur --replicas=8"

        def add_advice(route: Route) -> None:
            """Respond as a coordinator on Kubernetes would, which knows the Deployments."""
            answer = route.fetch().json()
            answer["advice"] = {
                "step": "blur", "steps": ["blur"], "busy": 0.91, "backlog_seconds": 3000.0, "replicas_now": 2,
                "replicas_more": 6, "finishes_in_seconds": 300.0, "next_step": None, "command": command,
            }  # fmt: skip
            answer["steps"][0] |= {"replicas": {"desired": 2, "ready": 1}, "remaining": 3}
            route.fulfill(json=answer)

        page.route("**/v1/steps", add_advice)
        page.goto("/#/system")
        text = "91 % busy · 50 min of work waiting · 2 replicas + 6 more · finished in 5 min"
        expect(page.get_by_text(text)).to_be_visible()
        expect(page.locator(".step").first).to_contain_text("1 of 2")
        page.get_by_role("button", name="Copy command").click()
        expect(page.get_by_text("Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == command


def test_the_system_says_what_is_wrong(page: Page, server: Server) -> None:
    def spoil(route: Route) -> None:
        answer = route.fetch().json()
        answer["dependencies"] = [
            {"name": "store", "state": "full", "problem": "the store is full (12 kB free); delete jobs"},
            {"name": "broker", "state": "away", "problem": None},
        ]
        answer["workers"][0] |= {"waiting_for": "store full (12 kB free)", "steps": ["blur"]}
        route.fulfill(json=answer)

    page.route("**/v1/status", spoil)
    page.goto("/#/system")
    expect(page.get_by_text("the store is full (12 kB free); delete jobs")).to_be_visible()
    expect(page.locator(".dependency.bad")).to_have_text("broker unreachable")
    page.get_by_text("Last hour and workers").click()
    expect(page.get_by_role("table", name="Workers of blur")).to_contain_text("waits for store full (12 kB free)")


def test_what_is_stored_is_shown_with_its_expiry(page: Page, server: Server, drawn: list[Path]) -> None:
    job = server.submit(drawn[:1], [["split", True]], expire_after="7d")
    server.wait(job)
    page.goto(f"/#/jobs/{job}")
    expect(page.get_by_text(re.compile("B uploaded$"))).to_be_visible()
    expect(page.get_by_text(re.compile("B of results$"))).to_be_visible()
    expect(page.get_by_text(re.compile("^expires "))).to_be_visible()
    page.goto("/#/system")
    storage = page.get_by_role("table", name="Storage")
    expect(storage.get_by_role("row", name=re.compile("^No key"))).to_contain_text(re.compile("[1-9].*B.*20"))


def test_an_unknown_job_shows_an_error(watched: tuple[Page, PageLog]) -> None:
    page, log = watched
    log.expected.append("404")
    page.goto("/#/jobs/nothing")
    expect(page.get_by_role("alert")).to_contain_text("nothing")


def test_a_link_to_an_image_that_a_job_lacks_says_so(
    watched: tuple[Page, PageLog], server: Server, drawn: list[Path]
) -> None:
    page, log = watched
    log.expected.append("404")
    job = server.submit(drawn[:1], [["split", True]])
    server.wait(job)
    page.goto(f"/#/jobs/{job}/images/999")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_role("alert")).to_have_text(f"there is no image 999 of job {job}")
    expect(viewer.get_by_text(" of 1")).to_have_count(0)
    page.keyboard.press("Escape")
    page.goto(f"/#/jobs/{job}/images/{'9' * 30}")
    expect(page.locator(".facts .badge")).to_have_text("succeeded")
    expect(viewer).to_have_count(0)
