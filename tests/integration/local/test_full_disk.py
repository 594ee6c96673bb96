"""`penstock run` on a full disk: it stops at once, nothing fails, and the next run does the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_folders import Run, codes, names
from small_disk import fill

from penstock.client.errors import NoSpaceError as FullFolderError
from penstock.client.local_files import AtomicFile
from penstock.local.results_folder import NoSpaceError, ResultsFolder

COMMAND = ("--op", "resize=200x200", "--output", "png", "--effort", 0)


def without_progress(stderr: str) -> list[str]:
    """Return the lines but those about progress, of which a slow computer writes some."""
    return [line for line in stderr.splitlines() if " images (" not in line]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Thirty images of noise, whose results have 120 kB each."""
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(30):
        cv2.imwrite(str(folder / f"{number:02}.png"), random.integers(0, 256, (200, 200, 3), np.uint8))
    return folder


def test_a_full_disk_ends_the_run_and_the_next_one_does_the_rest(
    penstock: Run, disk: Callable[[str], Path], images: Path
) -> None:
    out = disk("size=2m") / "o"
    stopped = penstock("run", images, *COMMAND, "--out", out)
    done = len(names(out))
    assert 0 < done < 30
    line = f"penstock: no space left in {out}: {done} done, {30 - done} not done; run again when there is room"
    assert (stopped.returncode, stopped.stdout, without_progress(stopped.stderr)) == (3, "", [line])
    assert codes(out) == {}
    again = penstock("run", images, *COMMAND, "--out", out)
    assert again.returncode == 3
    assert again.stderr.endswith(f", {done} done before; run again when there is room\n")
    done = len(names(out))
    disk("size=20m")
    rest = penstock("run", images, *COMMAND, "--out", out)
    assert (rest.returncode, len(names(out))) == (0, 30)
    assert f"{30 - done} done, 0 failed, {done} done before" in rest.stdout


@pytest.mark.parametrize("keep_bytes", [0, 4096, 8192, 16384, 131072])
def test_a_disk_that_is_full_already_ends_the_run_at_once(
    penstock: Run, disk: Callable[[str], Path], images: Path, keep_bytes: int
) -> None:
    out = disk("size=2m") / "o"
    fill(out.parent / "full", keep_bytes)
    stopped = penstock("run", images, *COMMAND, "--out", out)
    assert (stopped.returncode, stopped.stdout, len(without_progress(stopped.stderr))) == (3, "", 1)
    assert " done, " in stopped.stderr
    assert " not done; run again when there is room" in stopped.stderr
    (out.parent / "full").unlink()
    disk("size=20m")
    assert penstock("run", images, *COMMAND, "--out", out).returncode == 0
    assert len(names(out)) == 30


def test_a_folder_that_cannot_be_written_ends_the_run_in_one_line(
    penstock: Run, disk: Callable[[str], Path], images: Path
) -> None:
    out = disk("size=2m") / "o"
    out.mkdir()
    disk("ro")
    for folder in (out, out / "new"):
        refused = penstock("run", images, *COMMAND, "--out", folder)
        assert refused.returncode == 3
        assert refused.stderr == f"penstock: cannot use {folder}: Read-only file system; choose another --out\n"


def test_no_inode_left_is_no_space(disk: Callable[[str], Path]) -> None:
    out = disk("size=2m,nr_inodes=2") / "o"
    with pytest.raises(NoSpaceError, match="no space left in"):
        ResultsFolder(out)


def test_a_download_to_a_full_disk_leaves_nothing_and_says_so(disk: Callable[[str], Path]) -> None:
    out = disk("size=1m")
    file = AtomicFile(out / "north" / "x.jpg", "0" * 64)
    with pytest.raises(FullFolderError, match="no space left; run the same command again when there is room") as caught:
        file.write(bytes(2_000_000))
    file.abort()
    assert caught.value.exit_code == 3
    assert [path for path in out.rglob("*") if path.is_file()] == []
