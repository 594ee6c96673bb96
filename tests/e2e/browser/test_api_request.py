"""The API request that the form shows: each program is run, and submits the job that it was shown for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser_support import Server
from playwright.sync_api import Page, expect

PICKER = "input[type=file]:not([webkitdirectory])"
SECS = 120


@pytest.fixture
def folder(tmp_path: Path, drawn: list[Path]) -> Path:
    """A folder with two images, one with a name that shells and languages have to quote."""
    shutil.copy(drawn[0], tmp_path / 'it\'s "one".jpg')
    shutil.copy(drawn[1], tmp_path / "two.jpg")
    return tmp_path


def show(page: Page, language: str) -> str:
    """Return the program in a language for a job with a name, labels and operations."""
    page.get_by_role("button", name="+ Split").click()
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Name", exact=True).fill(f'it\'s by "{language}" $HOME')
    page.get_by_label("Labels").fill("city=delft, year=2026")
    page.get_by_text("API request").click()
    page.get_by_role("tab", name=language).click()
    return page.get_by_role("region", name=language).text_content() or ""


def show_for_files(page: Page, folder: Path, language: str) -> str:
    page.goto("/")
    page.set_input_files(PICKER, sorted(folder.glob("*.jpg")))
    expect(page.get_by_text("2 images,")).to_be_visible()
    return show(page, language)


def check_newest(server: Server, language: str, images: int) -> None:
    job = json.loads(server.client.send("GET", "/v1/jobs?limit=1"))["jobs"][0]
    assert (job["name"], job["labels"]) == (f'it\'s by "{language}" $HOME', {"city": "delft", "year": "2026"})
    assert (job["state"], job["images"]["done"]) == ("succeeded", images)
    assert [each["op"] for each in job["operations"]] == ["resize", "split", "encode"]


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECS, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_python_program_submits_the_job_and_saves_its_results(page: Page, server: Server, folder: Path) -> None:
    program = show_for_files(page, folder, "Python")
    assert run([sys.executable, "-c", program], folder) == "succeeded 2\n"
    check_newest(server, "Python", images=2)
    assert len(list((folder / "results").glob("*.jpg"))) == 8


def test_the_command_submits_the_job_and_saves_its_results(page: Page, server: Server, folder: Path) -> None:
    command = show_for_files(page, folder, "Command line")
    run(["bash", "-c", command], folder)
    check_newest(server, "Command line", images=2)
    assert len(list((folder / "results").glob("*.jpg"))) == 8


def test_the_javascript_program_runs_in_node(page: Page, server: Server, folder: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    (folder / "submit.mjs").write_text(show_for_files(page, folder, "JavaScript"))
    printed = run(["node", "--no-warnings", "submit.mjs"], folder)
    assert printed.startswith(f"succeeded {server.url}/v1/jobs/")
    check_newest(server, "JavaScript", images=2)


def test_the_javascript_program_for_inputs_of_the_server_runs_in_a_browser(
    page: Page, server: Server, drawn: list[Path]
) -> None:
    shutil.copy(drawn[0], server.inputs / "javascript.jpg")
    page.goto("/")
    page.get_by_label("From a folder or bucket").check()
    page.get_by_label("Kind of input 1").select_option("File")
    page.get_by_label("Input 1", exact=True).fill("javascript.jpg")
    program = show(page, "JavaScript")
    page.evaluate(f"(async () => {{{program}}})()")
    check_newest(server, "JavaScript", images=1)


def test_a_webhook_is_in_the_command_as_a_document(page: Page, folder: Path) -> None:
    page.goto("/")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Webhook").fill("http://127.0.0.1:9/done")
    page.get_by_text("API request").click()
    page.get_by_role("tab", name="Command line").click()
    command = page.get_by_role("region", name="Command line")
    expect(command).to_contain_text('"url": "http://127.0.0.1:9/done"')
    expect(command).to_contain_text("penstock submit 'photo.jpg' --job job.json")


def test_the_command_of_a_job_with_outputs_is_run_with_a_document(page: Page, server: Server, folder: Path) -> None:
    page.goto("/")
    page.set_input_files(PICKER, sorted(folder.glob("*.jpg")))
    page.get_by_role("button", name="+ Add output").click()
    page.get_by_text("API request").click()
    page.get_by_role("tab", name="Command line").click()
    run(["bash", "-c", page.get_by_role("region", name="Command line").text_content() or ""], folder)
    job = json.loads(server.client.send("GET", "/v1/jobs?limit=1"))["jobs"][0]
    assert (job["state"], job["images"]["done"]) == ("succeeded", 4)
    assert len(list((folder / "results" / "output-2").glob("*.jpg"))) == 2


def test_tabs_are_moved_through_with_arrows(page: Page) -> None:
    page.goto("/")
    page.get_by_text("API request").click()
    first = page.get_by_role("tab", name="curl")
    first.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    page.get_by_role("tab", name="Python").press("ArrowLeft")
    expect(first).to_have_attribute("aria-selected", "true")
