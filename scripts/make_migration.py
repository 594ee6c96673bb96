"""Generate the next database migration from the difference between the tables in the code and the migrated ones.

Usage: make_migration.py "description". Review the generated file, then update `NEWEST` in migrate.py.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from penstock.coordinator.database.backends.migrate import NEWEST, configure
from penstock.coordinator.database.repository import SqlRepository


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print('usage: make_migration.py "description"', file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "penstock.db"
        SqlRepository.sqlite(path).close()
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            number = f"{int(NEWEST) + 1:04}"
            command.revision(configure(connection), arguments[0], autogenerate=True, rev_id=number)
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
