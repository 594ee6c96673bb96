"""Logs: JSON lines, text lines on a terminal, and the context of each record."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from penstock.common.logs import OutageLog, set_up_logs
from penstock.common.model.errors import FullError, UnavailableError
from penstock.common.settings import SettingsError

PROGRAM = """
import logging, threading, warnings
from penstock.common.logs import log_context, set_up_logs
set_up_logs("worker-1")
log = logging.getLogger("penstock.test")
{body}
"""


def run(body: str, **environment: str) -> str:
    """Return what a program writes to stderr, which is not a terminal."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, env=bare | environment, check=False).stderr


def read(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_without_a_terminal_each_line_is_a_json_object() -> None:
    [record] = read(run("log.warning('%s: it\\'s full', 'the store')"))
    assert record.pop("time").endswith("Z")
    assert record == {
        "severity": "WARNING",
        "component": "worker-1",
        "logger": "penstock.test",
        "message": "the store: it's full",
    }


def test_a_line_of_text_ends_with_its_context() -> None:
    line = run("with log_context(job='1f', step='blur'):\n    log.info('100 %% done')", PENSTOCK_LOG_FORMAT="text")
    assert line.split(" ", 1)[1] == "worker-1 INFO 100 %% done (job 1f, step blur)\n"


def test_on_a_terminal_logs_are_text_by_default() -> None:
    master, terminal = pty.openpty()
    body = PROGRAM.format(body="log.info('started')")
    for settings, expected in ({}, "worker-1 INFO started"), ({"PENSTOCK_LOG_FORMAT": "json"}, '"message": "started"'):
        subprocess.run([sys.executable, "-c", body], stderr=terminal, env=os.environ | settings, check=True)
        assert expected in os.read(master, 4_096).decode()
    os.close(master)
    os.close(terminal)


def test_records_carry_the_fields_of_the_innermost_context() -> None:
    body = """
with log_context(job="1f", step="resize", chunk="3-ab"):
    log.info("outer")
    with log_context(step="blur"):
        logging.getLogger("other.library").warning("inner")
    log.info("outer again", extra={"step": "encode"})
log.info("after")
"""
    shown = [{name: each.get(name) for name in ("job", "step", "chunk")} for each in read(run(body))]
    assert shown == [
        {"job": "1f", "step": "resize", "chunk": "3-ab"},
        {"job": "1f", "step": "blur", "chunk": "3-ab"},
        {"job": "1f", "step": "encode", "chunk": "3-ab"},
        {"job": None, "step": None, "chunk": None},
    ]


def test_a_traceback_is_one_field_of_one_line() -> None:
    body = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('failed')"
    [record] = read(run(body))
    assert record["message"] == "failed"
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("ZeroDivisionError: division by zero")


def test_an_unhandled_exception_of_a_thread_or_the_process_is_logged() -> None:
    body = "t = threading.Thread(target=lambda: 1 / 0, name='tracker'); t.start(); t.join()\nraise OSError('no disk')"
    thread, process = read(run(body))
    assert (thread["message"], process["message"]) == (
        "unhandled exception; thread tracker ends",
        "unhandled exception; process ends",
    )
    assert {thread["severity"], process["severity"]} == {"CRITICAL"}
    assert "OSError: no disk" in process["exception"]


def test_warnings_of_python_are_logged() -> None:
    [record] = read(run("warnings.simplefilter('always'); warnings.warn('deprecated')"))
    assert (record["severity"], record["logger"]) == ("WARNING", "py.warnings")
    assert "deprecated" in record["message"]


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("error", 0)])
def test_nothing_below_the_level_is_logged(level: str, count: int) -> None:
    body = "log.debug('a'); log.info('b'); log.warning('c')"
    assert len(read(run(body, PENSTOCK_LOG_LEVEL=level))) == count


def test_an_unknown_level_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match="PENSTOCK_LOG_LEVEL=loud: accepted are debug, info, "):
        set_up_logs("worker")


def test_an_outage_of_several_tasks_has_one_line_at_the_begin_and_one_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    outage = OutageLog(logging.getLogger("test"), "the coordinator", lambda: now)
    assert not outage.end("idle")
    for free in (12_000, 8_000):
        outage.begin(FullError("database", free), "tracker")
        outage.begin(FullError("database", free), "dispatcher")
    assert outage.waiting_for == "database full (8 kB free)"
    now = 130.0
    assert not outage.end("tracker")
    assert outage.waiting_for == "database full (8 kB free)"
    outage.begin(UnavailableError("broker", "unreachable"), "tracker")
    assert outage.waiting_for == "broker unreachable"
    assert not outage.end("dispatcher")
    assert outage.end("tracker")
    assert (outage.error, outage.waiting_for) == (None, None)
    assert caplog.messages == [
        "the coordinator is waiting for the database: the database is full (12 kB free)",
        "the coordinator is waiting for the broker: unreachable",
        "the database and the broker can be used again after 30 s",
    ]


def test_an_outage_that_is_dropped_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    outage = OutageLog(logging.getLogger("test"), "the coordinator")
    for _ in range(2):
        outage.begin(FullError("database"), "tracker")
        outage.drop()
        assert outage.waiting_for is None
    assert caplog.messages == ["the coordinator is waiting for the database: the database is full"] * 2
