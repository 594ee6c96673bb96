"""Totals of images by outcome, and the leader's status."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Count from now on: the totals of earlier images are unknown without reading every one of them."""
    op.add_column("jobs", sa.Column("arrived_failed", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "totals",
        sa.Column("outcome", KEY, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    status = op.create_table(
        "leader_status",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("put_at", sa.Double),
        sa.Column("status", sa.Text, nullable=False),
    )
    op.bulk_insert(status, [{"id": 1, "put_at": None, "status": ""}])
