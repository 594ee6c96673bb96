"""Programs beside this process: started once, asked often, ended when they hang, started again when they died."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from waiting import wait_until

from penstock.common.logs import JsonFormatter, log_context
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.stdio_protocol import MAX_LINE_BYTES, Request
from penstock.worker.executors.program import Launch, Program, ProgramStartError, ask_until_it_answers

DESCRIBE = """read x; echo '{"v":1,"step":"odd"}'; """
OK = """echo '{"v":1,"ok":true,"out":["'$$'"]}'"""


@pytest.fixture
def make() -> Iterator[Callable[..., Program]]:
    """Make a program of a shell script that has said what it is."""
    made: list[Program] = []

    def program(script: str, start_secs: float = 20.0) -> Program:
        made.append(Program("odd", lambda: Launch(["sh", "-c", script]), start_secs))
        return made[-1]

    yield program
    for each in made:
        each.close()


def ask(program: Program, attempts: int = 2, limit_secs: float = 20.0) -> list[str]:
    return ask_until_it_answers(program, lambda: Request(op="odd"), attempts, limit_secs).out


def test_one_process_answers_all_requests(make: Callable[..., Program]) -> None:
    program = make(DESCRIBE + "while read x; do " + OK + "; done")
    assert program.start().step == "odd"
    assert len({ask(program)[0] for _ in range(3)}) == 1


def test_another_takes_the_place_of_one_that_ended(make: Callable[..., Program]) -> None:
    program = make(DESCRIBE + "read x; " + OK)
    assert len({ask(program)[0] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "does",
    ["exit 1", "kill -9 $$", "echo hello", "exec >&-; sleep 60", f"head -c {MAX_LINE_BYTES + 1} /dev/zero; sleep 60"],
)
def test_one_that_always_dies_over_an_image_costs_that_image(make: Callable[..., Program], does: str) -> None:
    with pytest.raises(ImageError) as caught:
        ask(make(DESCRIBE + "read x; " + does), attempts=1 if "exec" in does else 2)
    assert caught.value.code is ImageCode.STEP_CRASHED


def test_one_that_hangs_is_ended_with_all_that_it_started(make: Callable[..., Program]) -> None:
    began = time.monotonic()
    with pytest.raises(ImageError) as caught:
        ask(make(DESCRIBE + "read x; sleep 600; echo late"), limit_secs=0.3)
    assert caught.value.code is ImageCode.STEP_TIMEOUT
    assert time.monotonic() - began < 60


def test_what_it_writes_over_an_image_is_logged_as_being_about_that_image(
    make: Callable[..., Program], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(caplog.handler, "formatter", JsonFormatter("worker"))
    program = make("echo begun >&2; " + DESCRIBE + "while read x; do echo at work >&2; " + OK + "; done")
    for number, chunk in enumerate(("one", "two"), 1):
        with log_context(job="1f", step="odd", chunk=chunk):
            ask(program)
        wait_until(lambda number=number: caplog.text.count("at work") == number)
    program.close()
    records = [json.loads(line) for line in caplog.text.splitlines()]
    assert [record.get("chunk") for record in records if record["message"] == "odd: at work"] == ["one", "two"]
    assert {record.get("job") for record in records if record["message"] == "odd: at work"} == {"1f"}


def test_a_code_that_nobody_knows_is_internal(make: Callable[..., Program]) -> None:
    refuse = """echo '{"v":1,"ok":false,"error":{"code":"odd","message":"so\\nso"}}'"""
    with pytest.raises(ImageError) as caught:
        ask(make(DESCRIBE + "read x; " + refuse.replace("\\n", " ")))
    assert (caught.value.code, caught.value.message) == (ImageCode.INTERNAL, "so so")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo broken >&2; exit 4", "odd cannot be started: it ended with status 4"),
        ("echo hello; cat", "does not say what it is"),
        ("sleep 600", "odd said nothing within 0.5 s"),
    ],
)
def test_one_that_cannot_start_says_why(make: Callable[..., Program], script: str, said: str) -> None:
    with pytest.raises(ProgramStartError) as caught:
        make(script, 0.5 if "sleep" in script else 20.0).start()
    assert said in str(caught.value)
    assert ("broken" in script) == (caught.value.said == "broken")


def test_who_waits_for_a_killed_program_is_told(make: Callable[..., Program]) -> None:
    program = make(DESCRIBE + "read x; sleep 600")
    program.start()
    killer = threading.Timer(0.2, program.kill)
    killer.start()
    with pytest.raises((ImageError, ProgramStartError)):
        ask(program, attempts=1)
    killer.join()
