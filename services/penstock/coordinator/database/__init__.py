"""The repository in an SQL database: SQLAlchemy Core, with the same statements for SQLite and PostgreSQL.

`repository` is the adapter and reads as a table of contents. Its statements are in `job_creation`, `queries`,
`image_transitions`, `job_transitions` (cancel, retry, delete), `uploads`, `sessions`, `outbox`, `totals` and `usage`.
`schema` has the tables, `rows` turns rows into jobs and images, and `job_counters` keeps the counters of a job's row.
`fencing` refuses writes of a leader that was replaced. `backends` has transactions, migrations, leader election and
whatever differs between the two databases.
"""
