"""Terminating `penstock serve`: current images are finished, and no process remains."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

SECS = 60.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_terminated_server_finishes_current_images_and_exits_with_0(
    start_server: Callable[..., Any], tricky: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    folder = tricky(good=40)
    server = start_server("--workers", "1", input_root=tmp_path)
    document = {"operations": [["pause", 0.3]], "inputs": [{"prefix": str(folder)}], "chunk_size": 1}
    job = server.client.post_job(document)["id"]
    deadline = time.monotonic() + SECS
    while server.client.job(job)["images"]["done"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.process.send_signal(number)
    assert server.process.wait(30) == 0
    results = list((tmp_path / "data" / "store" / "results" / job).iterdir())
    with sqlite3.connect(tmp_path / "data" / "penstock.sqlite") as database:
        [(done,)] = database.execute("select done from jobs")
    assert 2 <= len(results) == done < 40, "what was written was also noted"


def test_followers_of_a_job_are_disconnected_at_once_without_an_error(
    start_server: Callable[..., Any], tricky: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tricky(good=40)
    server = start_server("--workers", "1", input_root=tmp_path)
    document = {"operations": [["pause", 0.3]], "inputs": [{"prefix": str(folder)}], "chunk_size": 1}
    job = server.client.post_job(document)
    with httpx.stream("GET", f"{server.client.url}{job['links']['events']}", timeout=SECS) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: progress"
        server.process.send_signal(signal.SIGTERM)
        assert "event: end" not in list(lines)
    assert server.process.wait(30) == 0
    assert "ERROR" not in (tmp_path / "log").read_text()


def test_a_step_that_was_uninstalled_fails_its_images_and_the_server_keeps_running(
    start_server: Callable[..., Any], tricky: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tricky(good=5)
    server = start_server("--workers", "1", input_root=tmp_path)
    inputs = [{"prefix": str(folder)}]
    job = server.client.post_job({"operations": [["pause", 5.0]], "inputs": inputs})["id"]
    server.kill()
    server = start_server("--workers", "1", input_root=tmp_path, PYTHONPATH="")
    ended = server.client.wait(job, poll_secs=0.02)
    assert (ended["state"], ended["images"]["failed"]) == ("failed", 5)
    other = server.client.post_job({"operations": [["resize", "8x8"]], "inputs": inputs})["id"]
    assert server.client.wait(other, poll_secs=0.02)["state"] == "succeeded"
