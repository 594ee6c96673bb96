"""Command line: missing packages and shell completion."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import EXIT_CODES, EXIT_NOBODY_READS, cli
from penstock.client.errors import RefusedError


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return what bash offers to complete a line."""

    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_PENSTOCK_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        command = [sys.executable, "-m", "penstock"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return [offered.partition(",")[2] for offered in done.stdout.split()]

    return complete


@pytest.mark.parametrize(
    "arguments",
    [["submit", "s3://b/a.jpg", "--op", "split"], ["jobs"], ["status", "x"], ["results", "x", "--out", "o"], ["steps"]],
    ids=lambda arguments: arguments[0],
)
def test_a_command_without_httpx_names_the_package_to_install(arguments: list[str]) -> None:
    program = "import sys; sys.modules['httpx'] = None; from penstock.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "penstock: httpx is not installed; install it with pip install 'penstock[client]'\n"


def test_shells_complete_commands_and_options(complete: Callable[[str], list[str]]) -> None:
    assert "submit" in complete("penstock su")
    assert {"--state", "--label"} <= set(complete("penstock jobs --"))
    assert complete("penstock jobs --state par") == ["partial"]
    assert complete("penstock run a.jpg --op blur") == [
        f"blur={method}" for method in ("gaussian", "updownsampling", "bilateral", "median", "pixelate", "fill")
    ]
    assert complete("penstock submit a.jpg --op s") == ["split"]
    assert complete("penstock plan --op cr") == ["crop=16:9"]


def test_bash_completes_what_follows_an_equals_sign(tmp_path: Path) -> None:
    script = """
        eval "$(_PENSTOCK_COMPLETE=bash_source penstock)"
        complete_line() {
            COMP_LINE="$1" COMP_POINT=${#1} COMPREPLY=()
            _penstock_completion penstock
            echo "${COMPREPLY[*]}"
        }
        complete_line "penstock run photos --op blur=ga"
        complete_line "penstock run photos --op blur="
        complete_line "penstock run photos --op=blur=pix"
        complete_line "penstock run photos --output=we"
        complete_line "penstock plan --op crop=16:"
        complete_line "penstock retr"
    """
    (tmp_path / "penstock").write_text(f'#!/bin/sh\nexec {sys.executable} -m penstock "$@"\n')
    (tmp_path / "penstock").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=240, env=environment)
    assert done.stdout.splitlines() == [
        "gaussian",
        "gaussian updownsampling bilateral median pixelate fill",
        "pixelate",
        "webp",
        "9",
        "retry",
    ], done.stderr


def test_commands_show_examples_that_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("job.json").write_text("{}")
    for name in ("run", "submit", "jobs", "status", "results", "retry", "serve", "worker", "key", "plan", "bench"):
        shown = CliRunner().invoke(cli, [name, "--help"]).output
        examples = [line.strip() for line in shown.partition("Examples:\n")[2].splitlines() if line.strip()]
        assert examples, name
        for example in examples:
            command, *arguments = shlex.split(example)[1:]
            cli.commands[command].make_context(command, arguments)


def test_help_and_documentation_list_the_same_exit_codes() -> None:
    rows = {f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()}
    documentation = Path(__file__).parents[3] / "docs" / "cli.md"
    assert rows <= set(documentation.read_text().splitlines())
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())
    assert all(f"{code} {meaning}" in shown for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [(400, 2), (401, 2), (403, 2), (404, 2), (413, 2), (422, 2), (408, 3), (429, 3), (503, 3), (507, 3)],
)
def test_a_mistake_that_the_server_finds_has_the_exit_code_of_one_found_here(status: int, exit_code: int) -> None:
    assert RefusedError(status, "code", "detail").exit_code == exit_code


@pytest.mark.parametrize(("code", "exit_code"), [("job_ended", 2), ("idempotency_key_taken", 2), ("job_open", 3)])
def test_a_conflict_that_ends_by_itself_has_the_exit_code_of_one_to_try_again(code: str, exit_code: int) -> None:
    assert RefusedError(409, code, "detail").exit_code == exit_code


@pytest.mark.parametrize("arguments", [["--help"], ["jobs", "--help"], ["key", "delft"]])
def test_a_full_disk_behind_stdout_is_said_in_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "penstock", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr == "penstock: cannot write to stdout: No space left on device\n"
    assert done.returncode == 3


def test_a_command_that_nobody_reads_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "penstock", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (EXIT_NOBODY_READS, "")


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (["serve"], "fastapi", "coordinator,steps"),
        (["coordinator", "--broker", "amqp://x"], "fastapi", "coordinator"),
        (["worker", "--broker", "amqp://x", "--store", "s3://x"], "pika", "steps"),
        (["run", "a.jpg", "--op", "split", "--out", "o"], "cv2", "steps"),
        (["plan", "--images", "9", "--op", "split"], "cv2", "steps"),
    ],
    ids=str,
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    tmp_path: Path, command: list[str], module: str, extra: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    program = f"import sys; sys.modules['{module}'] = None; from penstock.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.stderr == f"penstock: {module} is not installed; install it with pip install 'penstock[{extra}]'\n"
    assert done.returncode == 2
