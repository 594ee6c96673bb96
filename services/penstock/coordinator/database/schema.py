"""Schema: the tables of this version. migrations/ brings older ones up to date."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.sql import false, text

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
    # Step totals of done images, of failed ones that a retry may help, and of other failed ones ("final") are separate:
    # a retry of all images of the second kind resets those.
    Column("steps_of_done", Text, nullable=False),
    Column("steps_of_failed", Text, nullable=False),
    Column("steps_of_final", Text, nullable=False, server_default="[]"),
    # While a retry updates its images in pages, failures up to this number count as pending; 0 otherwise. Final
    # failures only if `retry_final`.
    Column("retry_floor", Integer, nullable=False),
    Column("retry_final", Boolean, nullable=False, server_default=false()),
    # Failed images by code: how many, and how many of these a retry may help.
    Column("failures", Text, nullable=False, server_default="{}"),
    # When the current run started, and the seconds that the earlier ones took.
    Column("run_started_at", Double),
    Column("worked_secs", Double, nullable=False, server_default="0"),
    # Images done and failed over the working time; see `Throughput`.
    Column("throughput", Text, nullable=False, server_default=text("''")),
    # Images that failed before the job started, by code: counted in `totals` once the job is accepted.
    Column("arrived_failed", Text, nullable=False, server_default="{}"),
    # The name of the API key that sent it; empty without API keys.
    Column("owner", _KEY, nullable=False, server_default=text("''")),
    # The webhook, and the secret that signs its events if the job has its own.
    Column("webhook_url", Text),
    Column("webhook_secret", Text),
    # How long it is kept after its end, and until when; null: for ever.
    Column("expire_after_secs", Double),
    Column("expires_at", Double),
    # Bytes that the store has of it: files sent for it, which jobs of the same upload share, and results.
    Column("upload_bytes", BigInteger, nullable=False, server_default="0"),
    Column("result_bytes", BigInteger, nullable=False, server_default="0"),
    # The earlier job whose images are its own.
    Column("source_job", _KEY),
    # Pending images that have no rows of their own yet; see `packs`.
    Column("packed", Integer, nullable=False, server_default="0"),
    # Groups that have not ended, and those of them that wait for their images.
    Column("open_groups", Integer, nullable=False, server_default="0"),
    Column("waiting_groups", Integer, nullable=False, server_default="0"),
    Index("jobs_by_state", "state", "id"),
    Index("jobs_by_owner", "owner", "id"),
    sqlite_autoincrement=True,
)

for _name, _column in (("jobs_by_expiry", jobs.c.expires_at), ("jobs_by_source", jobs.c.source_job)):
    _has_value = _column.is_not(None)
    Index(_name, _column, sqlite_where=_has_value, postgresql_where=_has_value)

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
    # Never `cancelled`: the job's state says so for its images, see rows.py. `waiting` is a group that is pending, but
    # not to be dispatched yet.
    Column("state", _KEY, nullable=False),
    Column("size", BigInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("results", Text),
    Column("error", Text),
    # The error's code as `jobs.failures` counts it, and whether a retry may help.
    Column("error_code", _KEY),
    Column("error_retry", Boolean),
    Column("failure_number", Integer),
    # Where it was taken, in degrees, as its first result says.
    Column("longitude", Double),
    Column("latitude", Double),
    Column("timings", Text),
    Column("resume_step", Integer, nullable=False, server_default="0"),
    Column("resume_blob", Text),
    Column("resume_parts", Integer, nullable=False, server_default="0"),
    Column("regions", Text),
    # The labels that came with it, as JSON.
    Column("labels", Text),
    # The image that is its group, and of a group how many of its images have not ended.
    Column("group_id", Integer),
    Column("waits_for", Integer),
    Index("images_by_state", "job", "state", "id"),
    Index("images_by_name", "job", "name", unique=True),
    Index("images_by_stem", "job", "stem", unique=True),
)

_has_failed = images.c.failure_number.is_not(None)
_failures = (images.c.job, images.c.failure_number)
Index("images_by_failure", *_failures, sqlite_where=_has_failed, postgresql_where=_has_failed)

_has_place = images.c.longitude.is_not(None)
Index("images_by_place", images.c.job, images.c.id, sqlite_where=_has_place, postgresql_where=_has_place)

_has_code = images.c.error_code.is_not(None)
_by_error = (images.c.job, images.c.error_code, images.c.id)
Index("images_by_error", *_by_error, sqlite_where=_has_code, postgresql_where=_has_code)

_has_group = images.c.group_id.is_not(None)
_by_group = (images.c.job, images.c.group_id, images.c.name)
Index("images_by_group", *_by_group, sqlite_where=_has_group, postgresql_where=_has_group)

packs = Table(
    "packs",
    metadata,
    # Thousands of pending images in one row, compressed, until the leader gives them rows of their own; see packs.py.
    Column("job", Integer, primary_key=True, autoincrement=False),
    # The highest of their ids.
    Column("last", Integer, primary_key=True, autoincrement=False),
    Column("images", LargeBinary, nullable=False),
)

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

presets = Table(
    "presets",
    metadata,
    # Job documents without images that owners keep under a name.
    Column("owner", _KEY, primary_key=True),
    Column("name", _TEXT_KEY, primary_key=True),
    Column("document", Text, nullable=False),
    Column("changed_at", Double, nullable=False),
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
