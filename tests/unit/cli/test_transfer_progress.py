"""What is told meanwhile: lines for logs, bars for people, nothing for scripts."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pytest

from penstock.cli.transfer_progress import Bars, Lines, Silent, describe_progress, make_reporter
from penstock.client.models import Counts, Job, StepProgress

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STEPS = [StepProgress(step="resize", done=7), StepProgress(step="blur", done=5, failed=1)]
JOB = Job(
    id="j",
    state="running",
    created_at=NOW,
    images=Counts(total=9, done=5, failed=1),
    steps=STEPS,
    images_per_second=2.0,
)


def test_progress_is_told_in_one_line():
    assert describe_progress(JOB) == "running: 6 of 9 images (2.0 images/s); past resize 7, blur 6"


def test_logs_get_lines_when_they_are_due():
    written: list[str] = []
    lines = Lines(written.append, pause_secs=0)
    lines.begin_sending(10, 4)
    lines.sent()
    lines.progress(JOB)
    lines.fetched()
    lines.close()
    assert written == [
        "going on: 4 of 10 pictures are there\n",
        "sent 5 of 10 pictures\n",
        "running: 6 of 9 images (2.0 images/s); past resize 7, blur 6\n",
        "fetched 1 results\n",
    ]
    Lines(written.append, pause_secs=60).progress(JOB)
    assert len(written) == 4


def test_no_line_moves_the_cursor():
    written: list[str] = []
    Lines(written.append, pause_secs=0).progress(Job(id="j", created_at=NOW, state="run\x1b[2Jning"))
    assert written == ["run\ufffd[2Jning: 0 of 0 images; past \n"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_people_get_a_bar_for_each_step(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    bars = make_reporter(as_json=False)
    assert isinstance(bars, Bars)
    bars.begin_sending(3, 1)
    bars.sent()
    bars.progress(JOB)
    bars.fetched()
    bars.close()
    shown = sys.stderr.getvalue()
    assert all(text in shown for text in ("send", "2/3", "resize", "7/9", "blur", "6/9", "2.0 images/s"))


@pytest.mark.parametrize(("as_json", "kind"), [(True, Silent), (False, Lines)])
def test_scripts_and_logs_get_no_bars(monkeypatch, as_json, kind):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(make_reporter(as_json=as_json)) is kind
