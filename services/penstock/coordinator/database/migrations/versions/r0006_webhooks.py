"""Webhooks of jobs, and the outbox of their events."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the webhooks, none for existing jobs, and create the table."""
    op.add_column("jobs", sa.Column("webhook_url", sa.Text))
    op.add_column("jobs", sa.Column("webhook_secret", sa.Text))
    op.create_table(
        "notices",
        sa.Column("job", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("deliveries", sa.Text, nullable=False),
    )
    is_waiting = sa.text("state = 'waiting'")
    op.create_index("notices_due", "notices", ["due_at"], sqlite_where=is_waiting, postgresql_where=is_waiting)
