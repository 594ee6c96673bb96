"""Migrations: empty databases, databases older than the migrations, and concurrent starts."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.types import String

from penstock.common.model.jobs import JobState
from penstock.coordinator.database import migrations
from penstock.coordinator.database.backends.engine import read_url
from penstock.coordinator.database.backends.migrate import NEWEST, SchemaError, configure
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.database.schema import metadata
from penstock.coordinator.ports.repository import ALL_OWNERS

BEFORE_MIGRATIONS = Path(__file__).with_name("before_migrations.sql")


def open_engine(url: str) -> Engine:
    return create_engine(read_url(url))


def read_columns(engine: Engine) -> dict[str, dict[str, tuple[str, str | None, bool]]]:
    """Return, for each table, its columns with type, collation and whether they may be empty."""
    found = inspect(engine)
    return {
        table: {column["name"]: _describe(column) for column in found.get_columns(table)}
        for table in metadata.tables
        if found.has_table(table)
    }


def _describe(column: Any) -> tuple[str, str | None, bool]:
    collation = column["type"].collation if isinstance(column["type"], String) else None
    return str(column["type"]), collation, column["nullable"]


def read_revision(engine: Engine) -> str:
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()


def test_migrations_create_the_tables_of_the_code(database_url: str) -> None:
    SqlRepository(database_url).close()
    engine = open_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == NEWEST
    engine.dispose()


def test_the_comparison_finds_differences(database_url: str) -> None:
    SqlRepository(database_url).close()
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX images_by_stem"))
        connection.execute(text("ALTER TABLE jobs ADD COLUMN surplus INTEGER"))
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert {change[0] for change in found} == {"add_index", "remove_column"}
    engine.dispose()


def test_migrated_columns_have_the_types_and_collations_of_the_code(database_url: str) -> None:
    SqlRepository(database_url).close()
    engine = open_engine(database_url)
    migrated = read_columns(engine)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    assert read_columns(engine) == migrated
    assert set(migrated) == set(metadata.tables)
    engine.dispose()


def test_the_newest_migration_is_the_one_in_the_code() -> None:
    scripts = ScriptDirectory(str(resources.files(migrations)))
    assert scripts.get_heads() == [NEWEST]
    assert [script.revision for script in scripts.walk_revisions()] == [
        f"{number:04}" for number in range(int(NEWEST), 0, -1)
    ]


def test_a_database_older_than_the_migrations_is_migrated_with_its_data(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "penstock.db") as old:
        old.executescript(BEFORE_MIGRATIONS.read_text())
    old.close()
    repository = SqlRepository.sqlite(tmp_path / "penstock.db")
    [job] = repository.list_jobs(ALL_OWNERS, limit=9)
    assert (job.id, job.state, job.pending) == ("job-1", JobState.RUNNING, 1)
    assert [image.name for image in repository.take_pending("job-1", 9)] == ["b.jpg"]
    repository.close()
    engine = open_engine(f"sqlite:///{tmp_path}/penstock.db")
    assert read_revision(engine) == NEWEST
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_failures_of_an_earlier_version_are_counted_by_code(database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.begin() as connection:
        command.upgrade(configure(connection), "0007")
        common = {
            "plan": "[]", "document": "{}", "labels": "{}", "created_at": 1.0, "name": "", "priority": 0, "weight": 1,
            "on_failure": "continue", "run": 0, "total": 2, "failures_seen": 2, "retry_floor": 0,
            **dict.fromkeys(("pending", "queued", "running", "done", "cancelled"), 0),
        }  # fmt: skip
        none = "[[0, 0, 0, 0], [0, 0, 0, 0]]"
        failed = "[[1, 1, 1.0, 3.0], [0, 1, 2.0, 4.0]]"
        ended = {"id": "a", "state": "partial", "finished_at": 160.0, "failed": 2, "steps_of_failed": failed}
        running = {"id": "b", "state": "running", "finished_at": None, "failed": 0, "steps_of_failed": none}
        for number, job in enumerate((ended, running), start=1):
            row = {"number": number, "started_at": 100.0, "steps_of_done": none, **common, **job}
            names = ", ".join(row)
            connection.execute(
                text(f"INSERT INTO jobs ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row
            )
        final = '{"code": "corrupt_image", "message": "m", "step": "blur", "retry": false}'
        other = '{"code": "step_timeout", "message": "m", "step": "encode", "retry": true}'
        rows = [(0, final, 0, [(0, 0.25, 1.0)]), (1, other, 1, [(0, 0.75, 2.0), (1, 2.0, 4.0)])]
        for image, error, step, times in rows:
            timings = json.dumps([{"step": at, "wait": wait, "work": work} for at, wait, work in times])
            connection.execute(
                text(
                    "INSERT INTO images (job, id, name, stem, ref, state, error, failure_number, timings, resume_step)"
                    " VALUES (1, :image, :name, :name, 'r', 'failed', :error, :image, :timings, :step)"
                ),
                {"image": image, "name": f"n{image}", "error": error, "timings": timings, "step": step},
            )
    engine.dispose()
    repository = SqlRepository(database_url)
    ended, running = (repository.get_job(job, ALL_OWNERS) for job in "ab")
    assert {each.code: (each.images, each.retryable) for each in ended.failures} == {
        "corrupt_image": (1, 0),
        "step_timeout": (1, 1),
    }
    assert (ended.worked_secs, ended.run_started_at) == (60.0, None)
    assert (running.worked_secs, running.run_started_at) == (0.0, 100.0)
    assert [vars(step) for step in ended.steps] == [
        {"done": 1, "failed": 1, "wait_secs": 1.0, "work_secs": 3.0},
        {"done": 0, "failed": 1, "wait_secs": 2.0, "work_secs": 4.0},
    ]
    job, count = repository.retry_job("a")
    assert (count, job.steps[0].failed, job.steps[0].work_secs, job.steps[1].failed) == (1, 1, 1.0, 0)
    repository.close()


def test_an_unknown_version_of_that_age_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "penstock.db") as old:
        old.executescript(BEFORE_MIGRATIONS.read_text())
        old.execute("UPDATE schema_version SET version = 99")
    old.close()
    with pytest.raises(SchemaError, match="schema version 99; "):
        SqlRepository.sqlite(tmp_path / "penstock.db")


def test_an_up_to_date_database_is_opened_without_importing_alembic(repository, database_url) -> None:
    code = """
import sys
from penstock.coordinator.database.repository import SqlRepository
SqlRepository(sys.argv[1]).close()
sys.exit("alembic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code, database_url], check=False).returncode == 0


def test_coordinators_can_start_concurrently_on_an_empty_database(postgres) -> None:
    url = postgres.create_database()
    with ThreadPoolExecutor(4) as pool:
        repositories = list(pool.map(lambda _: SqlRepository(url), range(4)))
    for repository in repositories:
        assert repository.count_open_jobs() == 0
        repository.close()
    engine = open_engine(url)
    assert read_revision(engine) == NEWEST
    engine.dispose()
