"""Program: a program is started once, asked often, killed if it hangs, and restarted if it dies."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from penstock.common.logs import JsonFormatter, log_context
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.stdio_protocol import MAX_LINE_BYTES, Request
from penstock.worker.executors.program import Launch, Program, ProgramStartError

DESCRIBE = """read x; echo '{"v":1,"step":"odd"}'; """
OK = """echo '{"v":1,"ok":true,"out":["'$$'"]}'"""

MakeProgram = Callable[..., Program]


@pytest.fixture
def make_program() -> Iterator[MakeProgram]:
    """Makes a program of a shell script."""
    made: list[Program] = []

    def make(script: str, start_secs: float = 20.0) -> Program:
        made.append(Program("odd", lambda: Launch(["sh", "-c", script]), start_secs))
        return made[-1]

    yield make
    for each in made:
        each.close()


def run(program: Program, attempts: int = 2, limit_secs: float = 20.0) -> list[str]:
    return program.run(lambda: Request(op="odd"), attempts, limit_secs)[1].out


def test_one_process_answers_all_requests(make_program: MakeProgram) -> None:
    program = make_program(DESCRIBE + "while read x; do " + OK + "; done")
    assert program.start().step == "odd"
    assert len({run(program)[0] for _ in range(3)}) == 1


def test_a_program_that_ended_is_restarted(make_program: MakeProgram) -> None:
    program = make_program(DESCRIBE + "read x; " + OK)
    assert len({run(program)[0] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "command",
    ["exit 1", "kill -9 $$", "echo hello", "exec >&-; sleep 60", f"head -c {MAX_LINE_BYTES + 1} /dev/zero; sleep 60"],
)
def test_an_image_fails_if_the_program_dies_at_every_attempt(make_program: MakeProgram, command: str) -> None:
    with pytest.raises(ImageError) as caught:
        run(make_program(DESCRIBE + "read x; " + command), attempts=1 if "exec" in command else 2)
    assert caught.value.code is ImageCode.STEP_CRASHED


def test_a_program_that_hangs_is_killed_with_all_that_it_started(make_program: MakeProgram, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    program = make_program(DESCRIBE + f"read x; sleep 600 & echo $! > {started}; wait")
    with pytest.raises(ImageError) as caught:
        run(program, limit_secs=0.5)
    assert caught.value.code is ImageCode.STEP_TIMEOUT
    wait_until(lambda: not Path(f"/proc/{int(started.read_text())}").exists())


def test_what_it_writes_to_stderr_is_logged_with_the_current_chunk(
    make_program: MakeProgram, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(caplog.handler, "formatter", JsonFormatter("worker"))
    program = make_program("echo begun >&2; " + DESCRIBE + "while read x; do echo at work >&2; " + OK + "; done")
    for number, chunk in enumerate(("one", "two"), 1):
        with log_context(job="1f", step="odd", chunk=chunk):
            run(program)
        wait_until(lambda number=number: caplog.text.count("at work") == number)
    program.close()
    records = [json.loads(line) for line in caplog.text.splitlines()]
    assert [record.get("chunk") for record in records if record["message"] == "odd: at work"] == ["one", "two"]
    assert {record.get("job") for record in records if record["message"] == "odd: at work"} == {"1f"}


def test_an_unknown_error_code_is_internal(make_program: MakeProgram) -> None:
    refuse = """echo '{"v":1,"ok":false,"error":{"code":"odd","message":"so\\nso"}}'"""
    with pytest.raises(ImageError) as caught:
        run(make_program(DESCRIBE + "read x; " + refuse.replace("\\n", " ")))
    assert (caught.value.code, caught.value.message) == (ImageCode.INTERNAL, "so so")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo broken >&2; exit 4", "odd cannot be started: it ended with status 4; it wrote: broken"),
        ("echo hello; cat", "does not describe itself"),
        ("sleep 600", "odd did not answer within 0.5 s"),
    ],
)
def test_a_program_that_cannot_start_says_why(make_program: MakeProgram, script: str, message: str) -> None:
    with pytest.raises(ProgramStartError) as caught:
        make_program(script, 0.5 if "sleep" in script else 20.0).start()
    assert message in str(caught.value)


def test_a_request_fails_if_the_program_is_killed(make_program: MakeProgram, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program = make_program(DESCRIBE + f"read x; touch {asked}; sleep 600")

    def kill_when_asked() -> None:
        wait_until(asked.exists)
        program.kill()

    killer = threading.Thread(target=kill_when_asked)
    killer.start()
    with pytest.raises(ImageError) as caught:
        run(program, attempts=1, limit_secs=600.0)
    assert caught.value.code is ImageCode.STEP_CRASHED
    killer.join()
