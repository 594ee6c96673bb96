"""`penstock serve` with kills, poison images and hanging steps: one final state per image, and the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from penstock.local.sample_images import write_images

OPERATIONS = [["resize", "200x150"], ["pause", 0.02], ["split", True], ["blur", "median"]]
SECS = 60.0
SLOW_PROGRAM = """
import json, sys, time
for line in sys.stdin:
    if json.loads(line)["op"] == "describe":
        print(json.dumps({"v": 1, "step": "slow", "version": "1", "params": {}}), flush=True)
    else:
        time.sleep(900)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, 60, 320, 240)
    return folder


def job_of(server: Any, folder: Path, operations: list[Any] = OPERATIONS, **more: Any) -> str:
    document = {"operations": operations, "inputs": [{"prefix": str(folder)}], **more}
    return server.client.post_job(document)["id"]


def done(server: Any, job: str) -> int:
    return server.client.job(job)["images"]["done"]


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The checksums of an undisturbed run."""
    import hashlib
    import subprocess

    out = tmp_path_factory.mktemp("undisturbed")
    ops = ["--op", "resize=200x150", "--op", "split", "--op", "blur=median"]
    subprocess.run([sys.executable, "-m", "penstock", "run", photos, *ops, "--out", out], check=True, timeout=60)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.jpg")}


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_a_killed_and_restarted_server_gives_the_same_bytes_as_an_undisturbed_run(
    start_server: Any, photos: Path, undisturbed: dict[str, str], placement: str
) -> None:
    server = start_server("--placement", placement, input_root=photos)
    job = job_of(server, photos)
    for goal in (5, 25):
        wait_until(lambda goal=goal, server=server: done(server, job) >= goal)
        server.kill()
        server = start_server("--placement", placement, input_root=photos)
    ended = server.client.wait(job, poll_secs=0.02)
    assert ended["state"] == "succeeded"
    assert ended["images"]["done"] == len(list(photos.iterdir()))
    assert server.manifest(job) == undisturbed


def test_workers_killed_at_random_lose_nothing(
    start_server: Any, photos: Path, undisturbed: dict[str, str], kill: Callable[[int], None], tmp_path: Path
) -> None:
    server = start_server("--placement", "per_step", "--workers", "1", input_root=photos, PENSTOCK_MAX_ATTEMPTS="9")
    job = job_of(server, photos)
    chance = random.Random(7)
    for _ in range(8):
        wait_until(server.workers)
        kill(chance.choice(server.workers()))
        time.sleep(chance.uniform(0.02, 0.2))
    ended = server.client.wait(job, poll_secs=0.02)
    assert (ended["state"], ended["images"]["failed"]) == ("succeeded", 0)
    assert server.manifest(job) == undisturbed
    wait_until(lambda: not list((tmp_path / "data" / "store").glob("work/*/*/*")))


def test_an_image_that_kills_its_worker_fails_alone(
    start_server: Any, tricky: Callable[..., Path], tmp_path: Path
) -> None:
    server = start_server(input_root=tmp_path)
    job = job_of(server, tricky("crash", good=30), [["trip", True], ["blur", "median"]], chunk_size=8)
    ended = server.client.wait(job, poll_secs=0.02)
    assert ended["state"] == "partial"
    assert (ended["images"]["done"], ended["images"]["failed"]) == (30, 1)
    assert server.failures(job) == {"good-004-crash.png": "step_crashed"}
    failed = server.call("GET", f"/v1/jobs/{job}/images?state=failed")["images"][0]
    assert failed["error"]["step"] == "trip"
    assert failed["error"]["retry"] is True
    assert failed["attempts"] == 2


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_a_hanging_step_is_stopped_and_fails_only_its_image(
    start_server: Any, tricky: Callable[..., Path], tmp_path: Path, placement: str
) -> None:
    server = start_server("--placement", placement, "--workers", "1", input_root=tmp_path)
    job = job_of(server, tricky("hang", good=12), [["blur", "median"], ["trip", True]], chunk_size=8)
    ended = server.client.wait(job, poll_secs=0.02)
    assert (ended["images"]["done"], ended["images"]["failed"]) == (12, 1)
    assert server.failures(job) == {"good-004-hang.png": "step_timeout"}


def test_a_step_that_raises_or_returns_nonsense_fails_its_image_with_one_line(
    start_server: Any, tricky: Callable[..., Path], tmp_path: Path
) -> None:
    server = start_server(input_root=tmp_path)
    job = job_of(server, tricky("raise", "shapeless"), [["trip", True]])
    server.client.wait(job, poll_secs=0.02)
    images = server.call("GET", f"/v1/jobs/{job}/images?state=failed")["images"]
    messages = {image["name"]: image["error"]["message"] for image in images}
    assert messages["good-004-raise.png"] == "trip raised RuntimeError: tripped over it"
    assert messages["good-004-shapeless.png"] == "trip returned uint8 (24, 32); accepted is H×W×3 uint8"


def test_a_retry_continues_from_the_failed_step(start_server: Any, tricky: Callable[..., Path], tmp_path: Path) -> None:
    """The source is deleted by then, so the result can only come from the kept input of the failed step."""
    folder = tricky("raise", good=3)
    server = start_server(input_root=tmp_path)
    job = job_of(server, folder, [["resize", "20x20"], ["trip", True]])
    server.client.wait(job, poll_secs=0.02)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)
    for path in folder.iterdir():
        path.unlink()

    healed = tmp_path / "healed"
    healed.mkdir()
    plugins = Path(__file__).parents[2] / "plugins"
    for path in plugins.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            target = healed / path.relative_to(plugins)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes().replace(b"if colour == RAISE:", b"if False:"))
    server = start_server(input_root=tmp_path, PYTHONPATH=str(healed))
    retried = server.call("POST", f"/v1/jobs/{job}/retry")
    assert retried["images"]["failed"] == 0
    ended = server.client.wait(job, poll_secs=0.02)
    assert ended["state"] == "succeeded"
    assert len(server.manifest(job)) == 4
    assert not list((tmp_path / "data" / "store").glob("resume/*/*")), "the kept input was left behind"


def test_cancel_takes_effect_with_most_of_the_job_still_queued(start_server: Any, photos: Path, tmp_path: Path) -> None:
    server = start_server(input_root=photos)
    job = job_of(server, photos, [["pause", 0.5]], chunk_size=1)
    wait_until(lambda: done(server, job) >= 1)
    cancelled = server.call("POST", f"/v1/jobs/{job}/cancel")
    assert cancelled["state"] == "cancelled"
    assert cancelled["images"]["cancelled"] == 60 - cancelled["images"]["done"]
    quick = job_of(server, photos, [["resize", "20x20"]])
    assert server.client.wait(quick, poll_secs=0.02)["state"] == "succeeded"
    wait_until(lambda: not any(step["ready"] or step["in_flight"] for step in server.call("GET", "/v1/steps")["steps"]))
    images = server.client.job(job)["images"]
    assert images == cancelled["images"], "a cancelled job's counts moved"
    results = tmp_path / "data" / "store" / "results" / job
    wait_until(lambda: {path.name for path in results.iterdir()} == set(server.manifest(job)))


@pytest.mark.parametrize("program", [False, True])
def test_cancel_frees_a_worker_whose_step_takes_long(
    start_server: Any, photos: Path, tmp_path: Path, program: bool
) -> None:
    environment = {"PENSTOCK_STEP_TIMEOUT_SECS": "1000", "PENSTOCK_STEP_WALL_SECS": "1000"}
    if program:
        environment |= {
            "PENSTOCK_DECLARED_STEPS": json.dumps({"slow": {}}),
            "PENSTOCK_PROGRAM": json.dumps([sys.executable, str(tmp_path / "slow.py")]),
        }
        (tmp_path / "slow.py").write_text(SLOW_PROGRAM)
    server = start_server("--workers", "1", input_root=photos, **environment)
    job = job_of(server, photos, [["slow", True] if program else ["pause", 900]], chunk_size=1)
    wait_until(lambda: server.client.job(job)["images"]["running"] >= 1)
    server.call("POST", f"/v1/jobs/{job}/cancel")
    quick = job_of(server, photos, [["resize", "20x20"]])
    assert server.client.wait(quick, poll_secs=0.02)["state"] == "succeeded"


def test_on_failure_cancel_ends_the_job_at_its_first_failure(
    start_server: Any, tricky: Callable[..., Path], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", input_root=tmp_path)
    folder = tricky("raise", good=40)
    job = job_of(server, folder, [["trip", True], ["pause", 0.1]], on_failure="cancel", chunk_size=1)
    ended = server.client.wait(job, poll_secs=0.02)
    assert ended["state"] == "cancelled"
    assert ended["images"]["failed"] == 1
    assert ended["images"]["cancelled"] > 0


def test_a_stopped_server_exits_within_its_drain_time_and_continues_later(
    start_server: Any, photos: Path, undisturbed: dict[str, str]
) -> None:
    server = start_server(input_root=photos)
    job = job_of(server, photos)
    wait_until(lambda: done(server, job) >= 5)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(15) in (0, -signal.SIGTERM)
    server = start_server(input_root=photos)
    assert server.client.wait(job, poll_secs=0.02)["state"] == "succeeded"
    assert server.manifest(job) == undisturbed


def test_a_second_server_on_the_same_data_is_refused_in_one_line(
    start_server: Any, penstock: Callable[..., Any], tmp_path: Path
) -> None:
    start_server()
    second = penstock("serve", "--port", "0", "--data", tmp_path / "data")
    assert second.returncode == 3
    assert "in use by another Penstock; choose another --data" in second.stderr
    assert second.stderr.count("\n") == 1


def test_workers_exit_when_their_server_is_killed(start_server: Any) -> None:
    server = start_server()
    wait_until(server.workers)
    workers = server.workers()
    server.kill()

    def gone() -> bool:
        return not any(os.path.exists(f"/proc/{pid}") for pid in workers)

    wait_until(gone)
