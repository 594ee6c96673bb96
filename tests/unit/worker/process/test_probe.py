"""Probe: answered from files and the environment, before anything is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.worker.process.probe import answer_probe, name_files

PROBE, READY = ["worker", "--alive"], ["worker", "--ready"]


def test_every_process_has_its_own_file() -> None:
    assert name_files("alive", 1) == ["alive"]
    assert name_files("alive", 2) == ["alive-0", "alive-1"]


def test_a_worker_is_alive_if_every_process_has_written_its_file(tmp_path: Path) -> None:
    environment = {"PENSTOCK_LIVENESS_FILE": str(tmp_path / "alive"), "PENSTOCK_CONCURRENCY": "2"}
    (tmp_path / "alive-0").touch()
    assert answer_probe(PROBE, environment) == 1
    (tmp_path / "alive-1").touch()
    assert answer_probe(PROBE, environment) == 0


def test_a_worker_is_ready_if_every_process_reaches_its_broker(tmp_path: Path) -> None:
    environment = {"PENSTOCK_LIVENESS_FILE": str(tmp_path / "alive"), "PENSTOCK_CONCURRENCY": "2"}
    assert answer_probe(READY, environment) == 1
    (tmp_path / "alive-0").write_text("idle")
    (tmp_path / "alive-1").write_text("busy")
    assert answer_probe(READY, environment) == 0
    (tmp_path / "alive-1").write_text("busy\naway")
    assert (answer_probe(READY, environment), answer_probe(PROBE, environment)) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (PROBE, {}),
        (PROBE, {"PENSTOCK_LIVENESS_FILE": ""}),
        (PROBE, {"PENSTOCK_LIVENESS_FILE": "alive", "PENSTOCK_CONCURRENCY": "many"}),
        (PROBE, {"PENSTOCK_LIVENESS_FILE": "alive", "PENSTOCK_CONCURRENCY": "0"}),
        (["worker"], {"PENSTOCK_LIVENESS_FILE": "alive"}),
        (["worker", "--alive", "--help"], {"PENSTOCK_LIVENESS_FILE": "alive"}),
        ([], {"PENSTOCK_LIVENESS_FILE": "alive"}),
    ],
)
def test_other_commands_are_left_to_the_command_line(arguments: list[str], environment: dict[str, str]) -> None:
    assert answer_probe(arguments, environment) is None


def test_a_probe_imports_only_what_it_needs() -> None:
    program = (
        "import sys; from penstock.__main__ import main; sys.argv = ['penstock', 'worker', '--alive']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, *({'click', 'pydantic', 're'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PENSTOCK_LIVENESS_FILE": "/nowhere", "PYTHONPATH": "services"},
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == "1\n"
