"""What makes a process die, or be told of a time-out, at the right moment, and what makes the table of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from faulty import STRUCK, Crash, Guard
from points import BY_NAME, POINTS, STORE_PUTS, STORE_REMOVALS, point_of_put
from report import BEGIN, END, write_page
from sweep import COLUMNS, Row

from penstock.common.model.errors import UnavailableError
from penstock.common.store.keys import attempts_key, cancellation_key, plan_key, resume_key, upload_key, work_key

HERE = Path(__file__).parents[2] / "ledger"


@pytest.mark.parametrize("crash", [Crash("published", 3), Crash("row written", 1, "lost")])
def test_a_crash_is_read_as_it_was_written(crash: Crash) -> None:
    assert Crash.read(crash.write()) == crash


def test_a_kind_that_is_not_given_is_kill_and_an_empty_text_is_no_crash() -> None:
    assert Crash.read("published:3") == Crash("published", 3, "kill")
    assert Crash.read("") is None


def test_a_caller_is_told_of_a_time_out_at_that_time_only(tmp_path: Path) -> None:
    guard = Guard(Crash("acked", 2, "lost"), tmp_path / "notes")
    guard.reach("acked")
    guard.reach("published")
    with pytest.raises(UnavailableError, match="acked"):
        guard.reach("acked")
    guard.reach("acked")
    assert (tmp_path / "notes").read_text().split() == ["acked", "published", "acked", STRUCK, "acked"]


def test_a_process_dies_by_sigkill_at_that_time(tmp_path: Path) -> None:
    code = (
        "from faulty import *; from pathlib import Path; import sys\n"
        "guard = Guard(Crash('acked', 2), Path(sys.argv[1]))\n"
        "for _ in range(9): guard.reach('acked')"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "notes"], cwd=HERE, check=False, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    assert (tmp_path / "notes").read_text().split() == ["acked", "acked", STRUCK]


def test_only_the_call_before_death_goes_unconfirmed() -> None:
    guard = Guard(Crash("published", 2), None)
    assert not guard.is_near("published")
    guard.reach("published")
    assert guard.is_near("published")
    assert not Guard(Crash("published", 1, "lost"), None).is_near("published")


def test_every_kind_of_object_has_the_point_of_its_own() -> None:
    keys = [work_key("j", "c", 1), attempts_key("j", 0, 1), resume_key("j", 0, 1), cancellation_key("j"), plan_key("j")]
    points = [point_of_put(key) for key in keys]
    assert points == ["blob written", "start counted", "retry's input kept", "tombstone put", "plan stored"]
    assert point_of_put(upload_key("u", 0)) is None


def test_every_name_in_the_table_of_points_is_there_once() -> None:
    assert len(BY_NAME) == len(POINTS)
    assert {*STORE_PUTS.values(), *STORE_REMOVALS.values()} <= set(BY_NAME)


def test_the_table_stands_between_the_marks_and_sums_up(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    rows = [Row("a", 2, 2, 1, 3, Counter()), Row("b", 1, 1, 0, 0, Counter({COLUMNS["left over"]: 4}))]
    write_page(page, rows, 61.0, ["--runs", "1"])
    text = page.read_text()
    assert "old" not in text
    assert text.startswith(f'before\n{BEGIN}\n`make ledger ARGS="--runs 1"`: 3 runs in 1 minutes.')
    assert "| a | 2 | 2 | 1 | 3 | 0 | 0 | 0 | 0 |" in text
    assert f"| **all** | 3 | 3 | 1 | 3 | 0 | 0 | 0 | 4 |\n{END}\nafter\n" in text
