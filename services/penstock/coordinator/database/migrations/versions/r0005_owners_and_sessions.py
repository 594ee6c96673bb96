"""Owners of jobs and uploads, their usage, and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the owners, empty for existing rows, and create the two tables."""
    for table in ("jobs", "uploads"):
        op.add_column(table, sa.Column("owner", KEY, nullable=False, server_default=sa.text("''")))
    op.create_index("jobs_by_owner", "jobs", ["owner", "id"])
    op.create_table(
        "usage",
        sa.Column("owner", KEY, primary_key=True),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("key_hash", sa.String, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
