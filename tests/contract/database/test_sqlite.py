"""SQLite: which index its statements use; it decides without statistics."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "penstock.db"


@pytest.fixture
def database_url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_changes_of_a_few_images_do_not_scan_their_job(driver, repository, path):
    executed = []
    driver.accepted(images=40)

    def record(_connection, _cursor, statement, parameters, _context, many):
        executed.append((statement, parameters[0] if many else parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        repository.take_pending("job-1", 30)
        repository.mark_running([driver.started("job-1", *range(10))])
        assert repository.requeue_in_flight("job-1", range(5, 15)) == 10
        repository.apply([driver.done("job-1", *range(20)), driver.failed("job-1", *range(20, 40))])
        repository.retry_job("job-1", range(20, 30))
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    repository.close()
    with closing(sqlite3.connect(path)) as other:
        plans = [
            other.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            for statement, parameters in executed
            if " images " in statement.replace("\n", " ")
        ]
    details = [step[3] for plan in plans for step in plan if "images" in step[3]]
    assert len(details) >= 8
    assert [detail for detail in details if "id=?" not in detail and "id>?" not in detail] == []
