"""The database behind the repository's port: SQLAlchemy Core, SQLite now, PostgreSQL by the same statements.

sql.py is the adapter and reads as a table of contents; the statements stand in reads.py, admission.py (a job comes),
progress.py (its images move) and endings.py (cancel, retry, delete). rows.py turns rows into jobs and images,
ledger.py keeps a job's counters, schema.py holds the tables, engine.py connections, locks and all that is SQLite's own.
"""
