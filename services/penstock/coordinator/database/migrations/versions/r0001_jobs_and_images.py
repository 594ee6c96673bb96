"""Jobs and their images."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TEXT_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTERS = ("total", "pending", "queued", "running", "done", "failed", "cancelled", "failures_seen")


def upgrade() -> None:
    """Create the tables. A database older than the migrations has them already."""
    _make_jobs()
    _make_labels()
    _make_images()
    op.create_table("deletions", sa.Column("number", sa.Integer, primary_key=True, autoincrement=False))


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", KEY, nullable=False, unique=True),
        sa.Column("state", KEY, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("chunk_size", sa.Integer),
        sa.Column("on_failure", sa.String, nullable=False),
        sa.Column("upload", KEY, index=True),
        sa.Column("idempotency_key", KEY, unique=True),
        sa.Column("fingerprint", sa.String),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        *(sa.Column(name, sa.Integer, nullable=False) for name in COUNTERS),
        sa.Column("steps_of_done", sa.Text, nullable=False),
        sa.Column("steps_of_failed", sa.Text, nullable=False),
        sa.Column("retry_floor", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_state", "jobs", ["state", "id"])


def _make_labels() -> None:
    op.create_table(
        "job_labels",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("value", KEY, primary_key=True),
        sa.Column("job", KEY, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True),
    )


def _make_images() -> None:
    op.create_table(
        "images",
        sa.Column("job", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", TEXT_KEY, nullable=False),
        sa.Column("stem", TEXT_KEY, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("results", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("failure_number", sa.Integer),
        sa.Column("timings", sa.Text),
        sa.Column("resume_step", sa.Integer, nullable=False, server_default="0"),
        sa.Column("resume_blob", sa.Text),
        sa.Column("resume_parts", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("images_by_state", "images", ["job", "state", "id"])
    op.create_index("images_by_name", "images", ["job", "name"], unique=True)
    op.create_index("images_by_stem", "images", ["job", "stem"], unique=True)
    has_failed = sa.text("failure_number IS NOT NULL")
    by_failure = ["job", "failure_number"]
    op.create_index("images_by_failure", "images", by_failure, sqlite_where=has_failed, postgresql_where=has_failed)
