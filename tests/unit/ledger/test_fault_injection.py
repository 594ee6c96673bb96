"""Fault injection at the right moment, and the table of the results."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_injection import INJECTED, FaultInjector, Injection
from points import BY_NAME, POINTS, STORE_PUTS, STORE_REMOVALS, point_of_delete, point_of_put
from report import BEGIN, END, write_page
from sweep import COLUMNS, Row

from penstock.common.model.errors import UnavailableError
from penstock.common.store.keys import attempts_key, cancellation_key, plan_key, resume_key, upload_key, work_key

HERE = Path(__file__).parents[2] / "ledger"


@pytest.mark.parametrize("injection", [Injection("published", 3), Injection("row written", 1, "lost")])
def test_an_injection_survives_a_round_trip(injection: Injection) -> None:
    assert Injection.read(injection.write()) == injection


def test_the_default_kind_is_kill_and_an_empty_text_is_no_injection() -> None:
    assert Injection.read("published:3") == Injection("published", 3, "kill")
    assert Injection.read("") is None


def test_a_timeout_is_injected_once(tmp_path: Path) -> None:
    injector = FaultInjector(Injection("acked", 2, "lost"), tmp_path / "notes")
    injector.reach("acked")
    injector.reach("published")
    with pytest.raises(UnavailableError, match="acked"):
        injector.reach("acked")
    injector.reach("acked")
    assert (tmp_path / "notes").read_text().split() == ["acked", "published", "acked", INJECTED, "acked"]


def test_a_process_is_killed_at_the_point(tmp_path: Path) -> None:
    code = (
        "from fault_injection import *; from pathlib import Path; import sys\n"
        "injector = FaultInjector(Injection('acked', 2), Path(sys.argv[1]))\n"
        "for _ in range(9): injector.reach('acked')"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "notes"], cwd=HERE, check=False, timeout=60)
    assert ran.returncode == -signal.SIGKILL
    assert (tmp_path / "notes").read_text().split() == ["acked", "acked", INJECTED]


def test_only_the_next_call_before_a_kill_is_announced() -> None:
    injector = FaultInjector(Injection("published", 2), None)
    assert not injector.kills_next("published")
    injector.reach("published")
    assert injector.kills_next("published")
    assert not FaultInjector(Injection("published", 1, "lost"), None).kills_next("published")


def test_every_kind_of_object_has_its_own_point() -> None:
    of_image = attempts_key("j", 0, 1, b"{}"), resume_key("j", 0, 1, 2)
    blob = work_key("j", "0-3-abc.3-def", 1)
    keys = [blob, f"{blob}.4", *of_image, cancellation_key("j"), plan_key("j")]
    points = [point_of_put(key) for key in keys]
    assert points[:2] == ["blob written", "output's marker put"]
    assert points[2:] == ["attempt counted", "retry's input kept", "cancellation marker put", "plan stored"]
    assert point_of_put(upload_key("u", 0)) is None
    assert (point_of_delete([blob]), point_of_delete([blob, f"{blob}.4"])) == ("input dropped", "shared input dropped")
    assert point_of_delete([upload_key("u", 0)]) is None


def test_the_names_of_points_are_unique() -> None:
    assert len(BY_NAME) == len(POINTS)
    assert {*STORE_PUTS.values(), *STORE_REMOVALS.values()} <= set(BY_NAME)


def test_the_table_is_written_between_the_markers_with_sums(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    rows = [Row("a", 2, 2, 1, 3, Counter()), Row("b", 1, 1, 0, 0, Counter({COLUMNS["left over"]: 4}))]
    write_page(page, rows, 61.0, ["--runs", "1"])
    text = page.read_text()
    assert "old" not in text
    assert text.startswith(f'before\n{BEGIN}\n`make ledger ARGS="--runs 1"`: 3 runs in 1 minutes.')
    assert "| a | 2 | 2 | 1 | 3 | 0 | 0 | 0 | 0 |" in text
    assert f"| **all** | 3 | 3 | 1 | 3 | 0 | 0 | 0 | 4 |\n{END}\nafter\n" in text
