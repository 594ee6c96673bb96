"""Repository contract: on a full disk, writes say so and change nothing, and reads work."""

from __future__ import annotations

import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import fill, small_disk

from penstock.common.model.errors import FullError
from penstock.coordinator.database.repository import SqlRepository
from penstock.coordinator.ports.repository import ALL_OWNERS, Repository

MANY = 20_000
"""Images that need more room than the files of a database have left over."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A small disk, also for the account of a server."""
    parent = Path(tempfile.mkdtemp(prefix="penstock-disk-"))
    parent.chmod(0o755)
    with small_disk(parent / "disk") as mount:
        yield mount("size=60m")
    shutil.rmtree(parent)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """An empty database on the small disk."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/penstock.db"
        return
    server = request.getfixturevalue("postgres_package")
    tablespace = folder / "tablespace"
    tablespace.mkdir()
    account = pwd.getpwnam("postgres")
    shutil.chown(tablespace, account.pw_uid, account.pw_gid)
    url = server.create_database()
    name = url.rpartition("/")[2]
    with server.connect() as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{tablespace}'")
        connection.execute(f"ALTER DATABASE {name} SET TABLESPACE small")
    yield url
    with server.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute("DROP TABLESPACE small")


def test_a_full_disk_refuses_what_needs_room_and_nothing_else(repository: Repository, driver, folder: Path) -> None:
    driver.accepted("before", images=3)
    fill(folder / "full")
    with pytest.raises(FullError) as caught:
        driver.received("much", images=MANY)
    assert caught.value.waiting_for in ("database full", "database full (0 B free)")
    assert repository.get_job("before", ALL_OWNERS).total == 3
    repository.check()
    (folder / "full").unlink()
    repository.discard_receiving("much")
    driver.accepted("much", images=MANY)
    assert driver.check_counters("much").total == MANY


def test_a_file_that_cannot_be_made_on_a_full_disk_is_named_so(folder: Path) -> None:
    fill(folder / "full")
    with pytest.raises(FullError, match=r"the database is full \(0 B free\)"):
        SqlRepository.sqlite(folder / "penstock.db")
