"""Regions that come with images."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column, empty for existing images."""
    op.add_column("images", sa.Column("regions", sa.Text))
