"""Logs: a JSON object a line for machines, a readable line for people, and what each record is about."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from penstock.common.settings import SettingsError

PROGRAM = """
import logging, threading, warnings
from penstock.common.logs import log_context, set_up_logs
set_up_logs("worker-1")
log = logging.getLogger("penstock.test")
{body}
"""


def run(body: str, **environment: str) -> str:
    """Return what a program writes to stderr, which is no terminal."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, env=bare | environment, check=False).stderr


def read(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_where_no_terminal_is_each_line_is_a_json_object() -> None:
    [record] = read(run("log.warning('%s: it\\'s away', 'the store')"))
    assert record.pop("time").endswith("Z")
    assert record == {
        "severity": "WARNING",
        "component": "worker-1",
        "logger": "penstock.test",
        "message": "the store: it's away",
    }


def test_a_person_reads_text_with_what_it_is_about() -> None:
    line = run("with log_context(job='1f', step='blur'):\n    log.info('100 %% done')", PENSTOCK_LOG_FORMAT="text")
    assert line.split(" ", 1)[1] == "worker-1 INFO 100 %% done (job 1f, step blur)\n"


def test_on_a_terminal_logs_are_text_unless_told_otherwise() -> None:
    ours, theirs = pty.openpty()
    body = PROGRAM.format(body="log.info('begun')")
    for settings, expected in ({}, "worker-1 INFO begun"), ({"PENSTOCK_LOG_FORMAT": "json"}, '"message": "begun"'):
        subprocess.run([sys.executable, "-c", body], stderr=theirs, env=os.environ | settings, check=True)
        assert expected in os.read(ours, 4_096).decode()
    os.close(ours)
    os.close(theirs)


def test_every_record_of_a_context_says_what_it_is_about_until_the_context_ends() -> None:
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


def test_what_ends_a_thread_or_the_process_is_logged_as_all_else_is() -> None:
    body = "t = threading.Thread(target=lambda: 1 / 0, name='tracker'); t.start(); t.join()\nraise OSError('no disk')"
    thread, process = read(run(body))
    assert (thread["message"], process["message"]) == ("thread tracker ends", "this process ends")
    assert {thread["severity"], process["severity"]} == {"CRITICAL"}
    assert "OSError: no disk" in process["exception"]


def test_pythons_warnings_are_records_too() -> None:
    [record] = read(run("warnings.simplefilter('always'); warnings.warn('soon gone')"))
    assert (record["severity"], record["logger"]) == ("WARNING", "py.warnings")
    assert "soon gone" in record["message"]


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("error", 0)])
def test_nothing_below_the_level_is_logged(level: str, count: int) -> None:
    body = "log.debug('a'); log.info('b'); log.warning('c')"
    assert len(read(run(body, PENSTOCK_LOG_LEVEL=level))) == count


def test_a_level_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.common.logs import set_up_logs

    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match="PENSTOCK_LOG_LEVEL=loud: Input should be 'debug', 'info'"):
        set_up_logs("worker")
