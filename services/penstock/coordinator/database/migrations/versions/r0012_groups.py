"""Groups of images, and the labels that come with images."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns; existing jobs have no groups."""
    op.add_column("jobs", sa.Column("open_groups", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("waiting_groups", sa.Integer, nullable=False, server_default="0"))
    op.add_column("images", sa.Column("labels", sa.Text))
    op.add_column("images", sa.Column("group_id", sa.Integer))
    op.add_column("images", sa.Column("waits_for", sa.Integer))
    has_group = sa.text("group_id IS NOT NULL")
    columns = ["job", "group_id", "name"]
    op.create_index("images_by_group", "images", columns, sqlite_where=has_group, postgresql_where=has_group)
