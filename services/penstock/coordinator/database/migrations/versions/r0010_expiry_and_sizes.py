"""Expiry of jobs; bytes of their files and results; the earlier job whose images a job reads."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns. Jobs of earlier versions never expire, and their bytes are unknown and count as 0."""
    op.add_column("jobs", sa.Column("expire_after_secs", sa.Double))
    op.add_column("jobs", sa.Column("expires_at", sa.Double))
    op.add_column("jobs", sa.Column("upload_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("result_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("source_job", KEY))
    for name, column in (("jobs_by_expiry", "expires_at"), ("jobs_by_source", "source_job")):
        has_value = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "jobs", [column], sqlite_where=has_value, postgresql_where=has_value)
