"""Packs: images of large jobs that have no rows of their own yet."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the table; images of earlier versions have rows."""
    op.add_column("jobs", sa.Column("packed", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "packs",
        sa.Column("job", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("images", sa.LargeBinary, nullable=False),
    )
