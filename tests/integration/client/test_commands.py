"""Commands for jobs against a real server: output for people and scripts, and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from http_proxy import HttpProxy
from run_folders import digests
from waiting import wait_until

from penstock.cli.main import main
from penstock.client import Client
from penstock.common.registry import declare_steps

RunCommand = Callable[..., tuple[int, Any]]


@pytest.fixture
def command(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunCommand:
    """Run a command in this process; return its exit code and output, parsed if it is JSON."""

    def run(*arguments: object, to: str = server) -> tuple[int, Any]:
        monkeypatch.setenv("PENSTOCK_SERVER", to)
        monkeypatch.setenv("PENSTOCK_STATE", str(tmp_path / "state"))
        monkeypatch.setattr(sys, "argv", ["penstock", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        code, output = int(exited.value.code or 0), capsys.readouterr()
        if "--json" in arguments and code not in (2, 3):
            return code, json.loads(output.out)
        return code, output.out + output.err

    return run


def test_one_command_uploads_images_and_downloads_their_results(
    command: RunCommand, image_folder: Path, tmp_path: Path
) -> None:
    code, job = command(
        "submit", image_folder, "--op", "resize=64x48", "--op", "split", "--output", "png", "--name", "delft",
        "--label", "city=delft", "--priority", 3, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert (code, job["state"], job["images"]["done"], job["failures"]) == (0, "succeeded", 6, [])
    assert (job["name"], job["labels"], job["priority"]) == ("delft", {"city": "delft"}, 3)
    assert (job["saved"]["results"], job["saved"]["present"]) == (24, 0)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 24
    assert not list((tmp_path / "state").rglob("*.json"))


def test_the_images_of_an_earlier_job_are_processed_again_without_sending_them(
    command: RunCommand, image_folder: Path, client: Client, tmp_path: Path
) -> None:
    _, first = command("submit", image_folder, "--op", "split", "--wait", "--expire-after", "2d", "--json")
    assert first["expire_after_seconds"] == 172_800
    again = ("submit", "--from-job", first["id"], "--op", "blur=median")
    code, second = command(*again, "--out", tmp_path / "out", "--json")
    assert (code, second["images"]["done"], second["source"]) == (0, 6, f"job {first['id']}")
    assert second["upload_bytes"] == first["upload_bytes"] > 0
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 6
    code, text = command(*again, image_folder)
    assert (code, "--from-job names the images; give no PATHS" in text) == (2, True)
    code, text = command("submit", "--from-job", first["id"], "--op", "split", "--expire-after", "soon")
    assert (code, "'soon' is not a" in text) == (2, True)
    code, text = command("status", first["id"])
    assert (code, "of uploads, " in text, "expires " in text) == (0, True, True)
    code, usage = command("usage", "--json")
    assert (code, usage["total"]["upload_bytes"]) == (0, client.usage().total.upload_bytes)


def test_results_are_downloaded_once_and_changed_files_replaced_only_on_request(
    command: RunCommand, client: Client, image_folder: Path, tmp_path: Path
) -> None:
    _, job = command("submit", image_folder, "--op", "blur=median", "--wait", "--json")
    out = tmp_path / "out"
    assert command("results", job["id"], "--out", out, "--json")[1]["saved"]["present"] == 0
    (out / "photo-0003.jpg").write_bytes(b"damaged")
    (out / "photo-0004.jpg").unlink()
    assert command("results", job["id"], "--out", out)[0] == 2
    assert (out / "photo-0003.jpg").read_bytes() == b"damaged"
    (out / "photo-0004.jpg").unlink(missing_ok=True)
    code, again = command("results", job["id"], "--out", out, "--force", "--json")
    assert (code, again["saved"]["results"], again["saved"]["present"]) == (0, 6, 4)
    assert again["saved"]["bytes"] == sum(
        result.size for result in client.results(job["id"]) if result.name[:10] in ("photo-0003", "photo-0004")
    )


def test_a_job_with_failures_exits_with_1_and_can_be_retried(command: RunCommand, image_folder: Path) -> None:
    (image_folder / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    code, text = command("submit", image_folder, "--op", "blur=median", "--wait")
    assert code == 1
    assert "partial: 6 done, 1 failed" in text
    assert "  bad.jpg: " in text
    job = text.split()[1]
    code, text = command("retry", job, "--code", "step_timeout")
    assert (code, "no image failed with 'step_timeout'; this job's failures are " in text) == (2, True)
    broken = command("status", job, "--json")[1]["failures"][0]["code"]
    code, retried = command("retry", job, "--code", broken, "--all", "--json")
    assert (code, retried["retried"]) == (0, 1)
    code, text = command("status", job, "-w")
    assert (code, "6 done, 1 failed" in text) == (1, True)
    code, text = command("status", job)
    assert (code, "STEP" in text) == (0, True)
    assert "blur method median → encode format jpg, quality 95" in text
    assert "  bad.jpg: " in text


def shortest_prefix(job: str, others: set[str]) -> str:
    """Return the shortest beginning of an id that no other one has."""
    beginnings = (job[:length] for length in range(1, len(job) + 1))
    return next(each for each in beginnings if not any(other.startswith(each) for other in others))


def test_a_job_is_found_by_the_beginning_of_its_id_and_the_newest_by_name(
    command: RunCommand, image_folder: Path, client: Client
) -> None:
    jobs = [command("submit", image_folder, "--op", "split", "--json")[1]["id"] for _ in range(2)]
    others = {job.id for job in client.jobs()} - {jobs[0]}
    unique, shared = shortest_prefix(jobs[0], others), shortest_prefix(jobs[0], {jobs[1]})[:-1]
    assert command("status", "@last", "--json")[1]["id"] == jobs[1]
    assert command("status", unique, "--json")[1]["id"] == jobs[0]
    code, text = command("status", shared)
    assert (code, f"jobs begin with {shared!r}; accepted is one: {jobs[1]}, {jobs[0]}" in text) == (2, True)
    code, text = command("cancel", "zz")
    assert (code, "no job begins with 'zz'" in text) == (2, True)
    assert {job.id for job in client.jobs()} >= set(jobs)


def test_the_doctor_reports_what_answers_and_what_is_misspelt(
    command: RunCommand,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    unused_port: int,
    request: pytest.FixtureRequest,
) -> None:
    request.addfinalizer(lambda: declare_steps({}))
    code, findings = command("doctor", "--json")
    assert (code, [finding for finding in findings if finding["state"] == "problem"]) == (0, [])
    assert {"subject": "server's database", "state": "ok", "detail": "ok"} in findings
    monkeypatch.setenv("PENSTOCK_MAX_PIXEL", "5")
    monkeypatch.setenv("PENSTOCK_WORKERS", "many")
    monkeypatch.setenv("PENSTOCK_BROKER_URL", f"amqp://127.0.0.1:{unused_port}")
    monkeypatch.setenv("PENSTOCK_DECLARED_STEPS", '{"fine": {}, "sharpen": {"params": {"type": "nonsense"}}}')
    code, text = command("doctor", to=f"127.0.0.1:{unused_port}")
    assert code == 1
    for said in ("did you mean PENSTOCK_MAX_PIXELS?", "PENSTOCK_WORKERS=many", "is unreachable", "nothing listens on"):
        assert said in text
    assert re.search("^ok +step fine", text, re.MULTILINE)
    assert re.search("^problem +step sharpen +declared step sharpen: not a JSON Schema", text, re.MULTILINE)


def test_a_deadline_is_forecast_from_what_was_measured_and_refused_if_strict(
    command: RunCommand, client: Client, image_folder: Path
) -> None:
    ops = ["--op", "resize=64x48"]
    code, text = command("submit", image_folder, *ops, "--deadline", "2h", "--wait")
    assert code == 0
    job = client.job(command("status", "@last", "--json")[1]["id"])
    assert job.deadline is not None
    assert (job.deadline - job.created_at).total_seconds() == pytest.approx(7_200)
    assert "; met" in command("status", job.id)[1]

    def forecast() -> dict[str, Any]:
        found: dict[str, Any] = client.estimate({"operations": [["resize", "64x48"]], "deadline": "2h"}, 1_000)
        return found["forecast"]  # type: ignore[no-any-return]

    wait_until(lambda: forecast()["feasible"])  # workers are counted every two seconds
    assert forecast()["replicas"].keys() == {"resize", "encode"}
    strict = ["--deadline", "0.000001s", "--deadline-strict"]
    code, text = command("submit", image_folder, *ops, *strict)
    assert (code, "deadline: " in text) == (2, True)
    code, text = command("submit", image_folder, *ops, "--max-price", "1")
    assert (code, "PENSTOCK_WORKER_PRICES" in text) == (2, True)


def test_jobs_are_listed_by_label_and_cancelled(command: RunCommand, image_folder: Path) -> None:
    slow = ["--op", "resize=800x800", *["--op", "blur=bilateral"] * 30]
    _, job = command("submit", image_folder, *slow, "--label", "kind=slow", "--json")
    assert [found["id"] for found in command("jobs", "--label", "kind=slow", "--json")[1]["jobs"]] == [job["id"]]
    code, text = command("cancel", job["id"])
    assert (code, text.strip()) == (0, f"job {job['id']} cancelled")
    code, text = command("jobs", "--state", "cancelled")
    assert (code, job["id"] in text) == (0, True)
    assert command("status", job["id"], "--watch")[0] == 1


def test_a_job_that_cannot_be_cancelled_does_not_keep_the_others_from_it(
    command: RunCommand, client: Client, image_folder: Path
) -> None:
    ended = client.wait(client.submit({"operations": [["split", True]]}, [image_folder]).id)
    slow = client.submit({"operations": [["blur", "bilateral"]] * 30}, [image_folder])
    code, text = command("cancel", ended.id, "0" * 26, slow.id)
    assert (code, f"job {slow.id} cancelled\n" in text) == (2, True)
    assert f"penstock: job {ended.id} has ended already\n" in text
    assert client.job(slow.id).state == "cancelled"


def test_the_status_of_a_job_shows_whether_its_webhook_was_delivered(
    command: RunCommand, client: Client, image_folder: Path, unused_port: int
) -> None:
    webhook = {"url": f"http://127.0.0.1:{unused_port}/hook", "secret": "sixteen characters"}
    job = client.submit({"operations": [["split", True]], "webhook": webhook}, [image_folder]).id
    client.wait(job)
    wait_until(lambda: client.deliveries(job)[0].deliveries)
    assert f"\nwebhook http://127.0.0.1:{unused_port}: waiting; next at 20" in command("status", job)[1]
    shown = command("status", job, "--json")[1]
    assert (shown["webhook"]["receiver"], shown["notices"][0]["state"]) == (
        f"http://127.0.0.1:{unused_port}",
        "waiting",
    )


def test_a_script_gets_a_line_for_every_change(
    penstock: Callable[..., subprocess.CompletedProcess[str]], server: str, image_folder: Path
) -> None:
    with Client(server) as client:
        job = client.submit({"operations": [["blur", "median"]]}, [image_folder])
    done = penstock("status", job.id, "--watch", "--json", "--server", server)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, lines[-1]["state"]) == (0, "succeeded")
    assert all(before != after for before, after in pairwise(lines))


def test_steps_and_operations_are_shown(command: RunCommand) -> None:
    assert {step["name"] for step in command("steps", "--json")[1]["steps"]} >= {"resize", "blur"}
    assert "WORKERS" in command("steps")[1]
    assert {one["name"] for one in command("operations", "--json")[1]["operations"]} >= {"resize", "blur"}
    assert "--op resize=" in command("operations")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "{image_folder}"], "no operations given"),
        (["submit", "--op", "split"], "no images given"),
        (["submit", "{image_folder}/none.jpg", "--op", "split"], "no such file or folder"),
        (["submit", "{image_folder}", "s3://bucket/a.jpg", "--op", "split"], "cannot be combined"),
        (["submit", "{image_folder}", "--op", "split", "--label", "city"], "is not KEY=VALUE"),
        (["submit", "{image_folder}", "--op", "split", "--job", "{job}"], "both name operations"),
        (["submit", "{image_folder}", "--job", "{job}"], "has inputs already"),
        (["submit", "--job", "{broken}"], "not JSON"),
        (["results", "x"], "Missing option '-o' / '--out'"),
        (["jobs", "--server", "ftp://x"], "is not the URL of a server"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_reason(
    command: RunCommand, image_folder: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "job.json").write_text('{"operations": [["split", true]], "inputs": ["a.jpg"]}')
    (tmp_path / "broken.json").write_text("{")
    places = {"image_folder": image_folder, "job": tmp_path / "job.json", "broken": tmp_path / "broken.json"}
    code, text = command(*(argument.format(**places) for argument in arguments))
    assert (code, said in text) == (2, True), text
    assert "Traceback" not in text


def test_a_request_that_is_wrong_exits_with_2(command: RunCommand, image_folder: Path, server: str) -> None:
    code, text = command("submit", image_folder, "--op", "sharpen=1")
    assert (code, text.count("\n")) == (2, 1)
    assert "penstock: no operation 'sharpen'" in text
    assert command("status", "0" * 26)[0] == 2
    assert command("submit", "s3://nobodys/a.jpg", "--op", "split")[0] == 2


def test_a_document_is_refused_before_its_images_are_uploaded(
    proxy: HttpProxy, command: RunCommand, image_folder: Path, uploaded_files: Callable[[], list[str]]
) -> None:
    assert command("submit", image_folder, "--op", "sharpen=1", to=f"http://127.0.0.1:{proxy.server_port}")[0] == 2
    assert uploaded_files() == []


class HostileServer(BaseHTTPRequestHandler):
    """Names a job's result as it likes."""

    name = ""

    def do_GET(self) -> None:
        result = {
            "image": 0,
            "name": self.name,
            "size": 3,
            "media_type": "image/jpeg",
            "width": 1,
            "height": 1,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "url": "/abc",
        }
        job = {"id": "j", "state": "succeeded", "created_at": "2026-01-02T03:04:05Z", "unknown": {"field": 1}}
        page = {"results": [result], "next": None, **job}
        body = b"abc" if self.path == "/abc" else json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing."""


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "link/x", "ok.jpg"])
def test_a_servers_name_for_a_result_never_leads_out_of_the_folder(
    command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(HostileServer, "name", name)
    out = tmp_path / "here" / "out"
    out.mkdir(parents=True)
    (out / "link").symlink_to(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), HostileServer) as hostile:
        threading.Thread(target=hostile.serve_forever, kwargs={"poll_interval": 0.05}).start()
        code, text = command("results", "0" * 26, "--out", out, to=f"http://127.0.0.1:{hostile.server_port}")
        hostile.shutdown()
    found = [os.path.relpath(path, tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert (code, found) == ((0, ["here/out/ok.jpg"]) if name == "ok.jpg" else (2, [])), text


def test_a_folder_is_submitted_like_it_is_run(command: RunCommand, image_folder: Path, tmp_path: Path) -> None:
    photo = next(image_folder.rglob("*.jpg")).read_bytes()
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("caf\u00e9.jpg", "cafe\u0301.jpg", "IMG_1.JPG", "img_1.jpg"):
        (folder / name).write_bytes(photo)
    (folder / "more").symlink_to(image_folder)
    (folder / "around").symlink_to(folder)
    (folder / "anim.gif").write_bytes(b"GIF89a" + bytes(20))
    (folder / "notes.txt").write_text("no image")
    code, job = command("submit", folder, "--op", "blur=median", "--out", tmp_path / "out", "--json")
    assert (code, job["images"]["done"], job["images"]["failed"]) == (0, 10, 0)
    ignored = {item["file"]: item["reason"] for item in job["ignored"]}
    assert ignored == {"anim.gif": "GIF", "notes.txt": "text", "around": "a link to a folder that it is in"}
    penstock = [sys.executable, "-m", "penstock", "run", folder, "--op", "blur=median", "--out", tmp_path / "run"]
    assert subprocess.run(penstock, capture_output=True, check=False).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "run")
    assert len({name.casefold() for name in digests(tmp_path / "out")}) == 10


def test_files_that_the_server_does_not_read_are_named_before_they_fail_alone(
    command: RunCommand, image_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "IMG_0042.jpg"
    other.write_bytes(b"GIF89a" + bytes(600))
    image = sorted(image_folder.glob("*.jpg"))[0]
    code, output = command("submit", image, other, "--op", "resize=64x48", "--out", tmp_path / "out")
    assert code == 1
    assert "1 not read by this server: IMG_0042.jpg is GIF" in output
    assert "unsupported_type" in output
    assert "the file is GIF; accepted are JPEG, PNG, WebP, TIFF, AVIF" in output
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 1


def test_the_formats_that_a_server_reads_are_listed(client: Client) -> None:
    assert {"jpeg", "png", "webp", "tiff", "avif"} <= {each.type for each in client.formats()}
