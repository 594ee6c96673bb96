"""Schema: the tables of this version. migrations/ brings older ones up to date."""

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.sql import text

MAX_ID = 2**31 - 1
"""The largest image id that a row can have; requests may ask for larger ones."""

metadata = MetaData()

# Keys sort as bytes. By default PostgreSQL sorts by the language of its installation, which is slower and puts ids into
# another order.
_KEY = String().with_variant(String(collation="C"), "postgresql")
_TEXT_KEY = Text().with_variant(Text(collation="C"), "postgresql")

_JOB_COUNTERS = ("total", "pending", "queued", "running", "done", "failed", "cancelled", "failures_seen")

jobs = Table(
    "jobs",
    metadata,
    # Images refer to their job by a small number. A number is never used again, so that images of a deleted job, which
    # are deleted in pages, can't become another job's.
    Column("number", Integer, primary_key=True),
    Column("id", _KEY, nullable=False, unique=True),
    Column("state", _KEY, nullable=False),
    Column("plan", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("name", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("chunk_size", Integer),
    Column("on_failure", String, nullable=False),
    Column("upload", _KEY, index=True),
    Column("idempotency_key", _KEY, unique=True),
    Column("fingerprint", String),
    Column("run", Integer, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    *(Column(name, Integer, nullable=False) for name in _JOB_COUNTERS),
    # Step totals of done and of failed images are separate: a retry of all failed images resets the latter.
    Column("steps_of_done", Text, nullable=False),
    Column("steps_of_failed", Text, nullable=False),
    # While a retry updates its images in pages, failures up to this number count as pending; 0 otherwise.
    Column("retry_floor", Integer, nullable=False),
    # Images that failed before the job started, by code: counted in `totals` once the job is accepted.
    Column("arrived_failed", Text, nullable=False, server_default="{}"),
    # The name of the API key that sent it; empty without API keys.
    Column("owner", _KEY, nullable=False, server_default=text("''")),
    # The webhook, and the secret that signs its events if the job has its own.
    Column("webhook_url", Text),
    Column("webhook_secret", Text),
    Index("jobs_by_state", "state", "id"),
    Index("jobs_by_owner", "owner", "id"),
    sqlite_autoincrement=True,
)

job_labels = Table(
    "job_labels",
    metadata,
    Column("key", _KEY, primary_key=True),
    Column("value", _KEY, primary_key=True),
    Column("job", _KEY, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True),
)

images = Table(
    "images",
    metadata,
    Column("job", Integer, primary_key=True, autoincrement=False),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", _TEXT_KEY, nullable=False),
    Column("stem", _TEXT_KEY, nullable=False),
    Column("ref", Text, nullable=False),
    # Never `cancelled`: the job's state says so for its images, see rows.py.
    Column("state", _KEY, nullable=False),
    Column("size", BigInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("results", Text),
    Column("error", Text),
    Column("failure_number", Integer),
    Column("timings", Text),
    Column("resume_step", Integer, nullable=False, server_default="0"),
    Column("resume_blob", Text),
    Column("resume_parts", Integer, nullable=False, server_default="0"),
    Column("regions", Text),
    Index("images_by_state", "job", "state", "id"),
    Index("images_by_name", "job", "name", unique=True),
    Index("images_by_stem", "job", "stem", unique=True),
)

_has_failed = images.c.failure_number.is_not(None)
_failures = (images.c.job, images.c.failure_number)
Index("images_by_failure", *_failures, sqlite_where=_has_failed, postgresql_where=_has_failed)

deletions = Table(
    "deletions",
    metadata,
    # Numbers of deleted jobs that still have images.
    Column("number", Integer, primary_key=True, autoincrement=False),
)

leadership = Table(
    "leadership",
    metadata,
    # One row: the fencing token, and the leader it belongs to.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("term", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("since", Double),
)

totals = Table(
    "totals",
    metadata,
    # How many images ended in each way, those of deleted jobs included.
    Column("outcome", _KEY, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

leader_status = Table(
    "leader_status",
    metadata,
    # One row; not in `leadership`, which is locked whenever images are taken for dispatch.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("put_at", Double),
    Column("status", Text, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    # As with jobs, files refer to their upload by a number that is never used again.
    Column("number", Integer, primary_key=True),
    Column("id", _KEY, nullable=False, unique=True),
    Column("changed_at", Double, nullable=False),
    Column("files", Integer, nullable=False),
    # How many of the files are images by their first bytes.
    Column("pictures", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    # It is no longer visible, and its files are being deleted in pages.
    Column("dropped", Boolean, nullable=False),
    Column("owner", _KEY, nullable=False, server_default=text("''")),
    sqlite_autoincrement=True,
)

upload_files = Table(
    "upload_files",
    metadata,
    Column("upload", Integer, primary_key=True, autoincrement=False),
    Column("name", _TEXT_KEY, primary_key=True),
    Column("key", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("kind", String),
    Column("sha256", String, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    # Images accepted from an owner on the last day with any (days since the epoch, UTC).
    Column("owner", _KEY, primary_key=True),
    Column("day", Integer, nullable=False),
    Column("images", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    # Browsers that are logged in. `id` is the digest of the cookie's value, `key_hash` the hash of the API key.
    Column("id", _KEY, primary_key=True),
    Column("key_hash", String, nullable=False),
    Column("expires_at", Double, nullable=False),
)

notices = Table(
    "notices",
    metadata,
    # The outbox: webhook events, one for each run of a job with a webhook.
    Column("job", Integer, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    # The job's summary at that end; a retried job changes again.
    Column("told", Text, nullable=False),
    Column("state", _KEY, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("deliveries", Text, nullable=False),
)

_is_waiting = notices.c.state == "waiting"
Index("notices_due", notices.c.due_at, sqlite_where=_is_waiting, postgresql_where=_is_waiting)
