"""The database behind the repository's port: SQLAlchemy Core, SQLite and PostgreSQL by the same statements.

sql.py is the adapter and reads as a table of contents; the statements stand in reads.py, admission.py (a job comes),
progress.py (its images move) and endings.py (cancel, retry, delete). rows.py turns rows into jobs and images,
ledger.py keeps a job's counters, schema.py holds the tables, and migrate.py brings older ones to their shape.
Transactions are engine.py's; what one database has and the other hasn't stands in sqlite.py, postgresql.py and bulk.py.
advisory.py says which of several coordinators leads, terms.py keeps an earlier one from writing.
"""
