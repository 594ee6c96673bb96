"""The repository in an SQL database: SQLAlchemy Core, with the same statements for SQLite and PostgreSQL.

`repository` is the adapter and reads as a table of contents. Its statements are in `job_creation`, `queries`,
`image_transitions`, `job_transitions` (cancel, retry, delete), `packs`, `uploads`, `owners`, `outbox` and `usage`.
Functions without a docstring are described in `Repository`. `schema` has the tables, `rows` turns rows into jobs and
images, and `job_counters` locks jobs' rows and changes their counters. `fencing` refuses writes of a leader that was
replaced. `backends` has transactions, migrations, leader election and whatever differs between the two databases.
"""
