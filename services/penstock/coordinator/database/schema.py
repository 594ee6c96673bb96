"""The tables, and the version by which one Penstock knows the database of another."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
)

from penstock.common.errors import PenstockError

SCHEMA_VERSION = 1

metadata = MetaData()

# Ids sort as bytes everywhere: PostgreSQL would otherwise sort them by the language of its installation.
_ID = String().with_variant(String(collation="C"), "postgresql")

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

jobs = Table(
    "jobs",
    metadata,
    # Images refer to their job by a small number; one that was used is never given again, so that the images of a
    # deleted job, which go in pages, can't become another job's.
    Column("number", Integer, primary_key=True),
    Column("id", _ID, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("plan", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("name", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("chunk_size", Integer),
    Column("on_failure", String, nullable=False),
    Column("upload", String, index=True),
    Column("idempotency_key", String, unique=True),
    Column("fingerprint", String),
    Column("run", Integer, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("total", Integer, nullable=False),
    Column("pending", Integer, nullable=False),
    Column("queued", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("failures_seen", Integer, nullable=False),
    # Step totals of done and of failed images apart: a retry of all that failed drops the latter at once.
    Column("steps_of_done", Text, nullable=False),
    Column("steps_of_failed", Text, nullable=False),
    # While a retry goes through its images in pages, failures up to this number are pending already; 0 otherwise.
    Column("retry_floor", Integer, nullable=False),
    Index("jobs_by_state", "state", "id"),
    sqlite_autoincrement=True,
)

job_labels = Table(
    "job_labels",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("job", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True),
)

images = Table(
    "images",
    metadata,
    Column("job", Integer, primary_key=True, autoincrement=False),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("stem", Text, nullable=False),
    Column("ref", Text, nullable=False),
    # Never `cancelled`: an image is that by its job's state alone, see rows.py.
    Column("state", String, nullable=False),
    Column("size", BigInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("results", Text),
    Column("error", Text),
    Column("failure_number", Integer),
    Column("timings", Text),
    Column("resume_step", Integer, nullable=False, server_default="0"),
    Column("resume_blob", Text),
    Column("resume_parts", Integer, nullable=False, server_default="0"),
    Index("images_by_state", "job", "state", "id"),
    Index("images_by_name", "job", "name", unique=True),
    Index("images_by_stem", "job", "stem", unique=True),
)

_has_failed = images.c.failure_number.is_not(None)
Index(
    "images_by_failure",
    images.c.job,
    images.c.failure_number,
    sqlite_where=_has_failed,
    postgresql_where=_has_failed,
)

deletions = Table(
    "deletions",
    metadata,
    # Numbers of jobs that are gone while some of their images are still to be removed.
    Column("number", Integer, primary_key=True, autoincrement=False),
)


class SchemaError(PenstockError):
    """A database that this version of Penstock cannot work with."""


def prepare_schema(connection: Connection) -> None:
    """Create the tables in an empty database; make sure that those of a used one are known.

    Raises:
        SchemaError: the database was written by a newer version of Penstock.
    """
    if not inspect(connection).has_table(schema_version.name):
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
        return
    found = connection.execute(select(schema_version.c.version)).scalar_one()
    if found > SCHEMA_VERSION:
        raise SchemaError(
            "newer_database",
            f"the database has schema version {found}; this version of Penstock accepts up to {SCHEMA_VERSION}",
        )
