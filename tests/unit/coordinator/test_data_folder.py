"""Data folder: one coordinator at a time, and nobody else; a database file that disappears is noticed."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from penstock.common.model.errors import BrokenSetupError, StartupError
from penstock.coordinator.data_folder import lock_data_folder
from penstock.coordinator.database.repository import SqlRepository


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_data_folder_in_use_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    with lock_data_folder(data):
        with pytest.raises(StartupError, match="in use by another Penstock") as caught, lock_data_folder(data):
            pass
        assert caught.value.code == "data_in_use"
    with lock_data_folder(data):
        pass  # free again


def test_a_data_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StartupError, match=r"cannot use .*choose another --data") as caught,
        lock_data_folder(tmp_path / "file" / "data"),
    ):
        pass
    assert caught.value.code == "data_unusable"


def test_a_deleted_lock_file_lets_no_second_coordinator_in(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path):
        (tmp_path / "lock").unlink()
        with pytest.raises(StartupError, match="in use by another Penstock"), lock_data_folder(tmp_path):
            pass


def test_a_coordinator_that_locks_only_the_file_is_respected(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        with pytest.raises(StartupError, match="in use by another Penstock"), lock_data_folder(tmp_path):
            pass


@pytest.mark.parametrize(
    ("before", "shared", "after"),
    [
        (None, False, 0o700),
        (0o755, False, 0o700),
        (0o777, False, 0o770),  # for a group that may write, as for containers with different users
        (0o2775, False, 0o2770),
        (0o755, True, 0o711),
        (0o700, True, 0o700),
        (None, True, 0o711),
    ],
)
def test_others_are_kept_out_of_the_data_folder(tmp_path: Path, before: int | None, shared: bool, after: int) -> None:
    data = tmp_path / "data"
    if before is not None:
        data.mkdir()
        data.chmod(before)
    with lock_data_folder(data, shared=shared):
        assert oct(mode_of(data)) == oct(after)


def test_the_database_is_for_its_owner_alone_also_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "penstock.sqlite"
    repository = SqlRepository.sqlite(file)
    repository.check()
    modes = {path.name: oct(mode_of(path)) for path in tmp_path.iterdir()}
    assert modes.keys() > {"penstock.sqlite"}
    assert set(modes.values()) == {"0o600"}
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    again = SqlRepository.sqlite(file)
    assert {oct(mode_of(path)) for path in tmp_path.iterdir()} == {"0o600"}
    again.close()
    repository.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_file_that_is_deleted_or_replaced_is_noticed(tmp_path: Path, replaced: bool) -> None:
    file = tmp_path / "penstock.sqlite"
    repository = SqlRepository.sqlite(file)
    repository.check()
    os.rename(file, tmp_path / "kept")
    if replaced:
        file.write_bytes((tmp_path / "kept").read_bytes())
    for attempt in (repository.check, repository.requeue_in_flight):
        with pytest.raises(BrokenSetupError, match=r"deleted or replaced .*start the server again"):
            attempt()
    assert repository.count_open_jobs() == 0, "what is there can be read"
    os.rename(tmp_path / "kept", file)
    repository.check()
    assert repository.requeue_in_flight() == 0
    repository.close()
