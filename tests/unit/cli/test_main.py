"""Command line: missing packages and shell completion."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import EXIT_CODES, cli
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


def test_help_and_documentation_list_the_same_exit_codes() -> None:
    rows = {f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()}
    documentation = Path(__file__).parents[3] / "docs" / "cli.md"
    assert rows <= set(documentation.read_text().splitlines())
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())
    assert all(f"{code} {meaning}" in shown for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (413, 2), (415, 2), (422, 2), (401, 3), (429, 3), (503, 3)]
)
def test_a_mistake_that_the_server_finds_has_the_exit_code_of_one_found_here(status: int, exit_code: int) -> None:
    assert RefusedError(status, "code", "detail").exit_code == exit_code
