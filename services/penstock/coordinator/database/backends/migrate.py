"""Migration: brings a database's tables to this version, by Alembic and the scripts in migrations/."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Inspector, inspect, text

from penstock.common.model.errors import PenstockError

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

NEWEST = "0012"
"""The last migration. A test compares it with migrations/versions/."""

_LOCK = int.from_bytes(b"pen-migr")
_MIGRATIONS = "penstock.coordinator.database:migrations"
_STAMP = "alembic_version"
_STAMP_BEFORE_ALEMBIC = "schema_version"


class SchemaError(PenstockError):
    """This version of Penstock can't use the database."""


def prepare_schema(connection: Connection) -> None:
    """Create the tables in an empty database, or migrate those of an older version.

    Runs in the caller's transaction, on PostgreSQL under a lock, so that of several starting coordinators the others
    wait for the first.

    Raises:
        SchemaError: the database was written by a newer version of Penstock.
    """
    _lock(connection)
    found = _find_revision(connection)
    if found == NEWEST:
        return
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Imported only if needed, because it is slow.
    from alembic import command

    if found is not None and not _is_known(found):
        raise SchemaError(
            "newer_database",
            f"the database has schema version {found.lstrip('0')}; "
            f"this version of Penstock accepts up to {NEWEST.lstrip('0')}",
        )
    if found is not None and not inspect(connection).has_table(_STAMP):
        command.stamp(configure(connection), found)
        connection.execute(text(f"DROP TABLE {_STAMP_BEFORE_ALEMBIC}"))
    command.upgrade(configure(connection), "head")
    if found is not None:
        log.info("migrated the database from schema version %d to %d", int(found), int(NEWEST))


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _find_revision(connection: Connection) -> str | None:
    """Return the migration of a database, None for an empty one."""
    tables: Inspector = inspect(connection)
    if tables.has_table(_STAMP):
        return connection.execute(text(f"SELECT version_num FROM {_STAMP}")).scalar_one_or_none()  # noqa: S608
    if tables.has_table(_STAMP_BEFORE_ALEMBIC):
        version: Any = connection.execute(text(f"SELECT version FROM {_STAMP_BEFORE_ALEMBIC}")).scalar_one()  # noqa: S608
        return f"{version:04}"
    return None


def _is_known(revision: str) -> bool:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(configure())
    return revision in {script.revision for script in scripts.walk_revisions()}


def configure(connection: Connection | None = None) -> Config:
    """Return the configuration for Alembic's commands."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _MIGRATIONS)
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    return config
