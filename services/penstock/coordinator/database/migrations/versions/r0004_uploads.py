"""Uploads and their files."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TEXT_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the two tables."""
    op.create_table(
        "uploads",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", KEY, nullable=False, unique=True),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("pictures", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("dropped", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "upload_files",
        sa.Column("upload", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", TEXT_KEY, primary_key=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String),
        sa.Column("sha256", sa.String, nullable=False),
    )
