"""Progress: lines in logs, bars on a terminal, nothing for scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from penstock.cli.progress import Lines, Progress, describe_job, make_progress
from penstock.common.model.rest import Counts, Job, StepProgress

STEPS = [StepProgress(step="resize", done=7), StepProgress(step="blur", done=5, failed=1)]
JOB = Job(
    id="j",
    state="running",
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    images=Counts(total=9, done=5, failed=1),
    steps=STEPS,
    images_per_second=2.0,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make_stderr_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def make() -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")

    return make


def test_a_jobs_progress_fits_in_one_line() -> None:
    assert describe_job(JOB) == "running: 6 of 9 images (2.0 images/s); past each step: resize 7, blur 6"
    waits = JOB.model_copy(update={"waiting_for": "store full", "images_per_second": None})
    assert describe_job(waits) == "running: 6 of 9 images, waiting for: store full; past each step: resize 7, blur 6"


def test_a_log_gets_a_line_for_each_stage_of_a_job() -> None:
    written: list[str] = []
    progress = Progress(Lines(written.append, interval_secs=0))
    progress.begin_upload(10, 4)
    progress.add_upload()
    progress.show_job(JOB)
    progress.add_download()
    progress.close()
    assert written == [
        "resuming: 4 of 10 files are already uploaded",
        "uploaded 5 of 10 files",
        "running: 6 of 9 images (2.0 images/s); past each step: resize 7, blur 6",
        "downloaded 1 results",
    ]


def test_a_log_gets_a_line_of_a_local_run_every_few_seconds() -> None:
    clock, written = Clock(), list[str]()
    progress = Progress(Lines(written.append, interval_secs=5.0, clock=clock), clock)
    for ended, total in ((1, None), (50, None), (60, 200), (100, 90)):
        progress.update(ended, total)
        clock.now += 5.0
    assert written == [
        "50 images (10.0 images/s)",
        "60 of 200 images (6.0 images/s, 23 s left)",
        "100 of 90 images (6.7 images/s, 0 s left)",
    ]


def test_a_resumed_upload_is_reported_at_once() -> None:
    written: list[str] = []
    progress = Progress(Lines(written.append, interval_secs=60))
    progress.begin_upload(10, 0)
    progress.show_job(JOB)
    assert written == []
    progress.begin_upload(10, 4)
    assert written == ["resuming: 4 of 10 files are already uploaded"]


def test_lines_contain_no_control_characters() -> None:
    written: list[str] = []
    Progress(Lines(written.append, interval_secs=0)).show_job(JOB.model_copy(update={"state": "run\x1b[2Jning"}))
    assert written == ["run\ufffd[2Jning: 6 of 9 images (2.0 images/s); past each step: resize 7, blur 6"]


def test_a_terminal_gets_one_bar_at_a_time_with_failures_in_red(
    make_stderr_a_terminal: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make_stderr_a_terminal()
    progress = make_progress(as_json=False)
    progress.begin_upload(3, 1)
    progress.add_upload()
    progress.show_job(JOB)
    progress.add_download()
    progress.close()
    shown = capsys.readouterr().err
    assert all(
        text in shown for text in ("upload", "1/3", "images", "6/9", "2.0 images/s", "\x1b[31m1 failed", "download")
    )
    assert not any("upload" in frame and "images" in frame for frame in shown.split("\x1b[2K"))
    assert shown.endswith("\x1b[2K")  # erased


def test_a_terminal_gets_a_bar_with_rate_and_count_of_a_local_run(
    make_stderr_a_terminal: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make_stderr_a_terminal()
    progress = make_progress(as_json=False)
    for total in (None, 10):
        progress.update(5, total)
    progress.close()
    shown = capsys.readouterr().err
    assert "5/10" in shown
    assert "images/s" in shown


def test_a_terminal_gets_lines_if_rich_is_not_installed(
    make_stderr_a_terminal: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr_a_terminal()
    monkeypatch.setattr("penstock.cli.progress.find_spec", lambda name: None)
    make_progress(as_json=False).begin_upload(3, 1)
    assert capsys.readouterr().err == "resuming: 1 of 3 files are already uploaded\n"


@pytest.mark.parametrize(("as_json", "written"), [(True, ""), (False, "resuming: 1 of 3 files are already uploaded\n")])
def test_a_log_gets_lines_and_a_script_nothing(capsys: pytest.CaptureFixture[str], as_json: bool, written: str) -> None:
    make_progress(as_json=as_json).begin_upload(3, 1)
    assert capsys.readouterr().err == written
