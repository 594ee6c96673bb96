"""Migrations: empty databases, databases older than the migrations, and concurrent starts."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.types import String

from penstock.common.model.jobs import JobState
from penstock.coordinator.database import migrations
from penstock.coordinator.database.backends.engine import read_url
from penstock.coordinator.database.backends.migrate import NEWEST, SchemaError
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


def test_an_unknown_version_of_that_age_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "penstock.db") as old:
        old.executescript(BEFORE_MIGRATIONS.read_text())
        old.execute("UPDATE schema_version SET version = 12")
    old.close()
    with pytest.raises(SchemaError, match="schema version 12; "):
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
