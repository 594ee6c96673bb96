"""`penstock serve` when the power fails: what was acknowledged is on the disk, and nothing else is needed.

A preloaded library records what `fsync` has brought to the disk. From that alone, the data folder is made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from penstock.local.sample_images import write_images

SOURCE = Path(__file__).parents[1] / "support" / "programs" / "power_cut.c"
IMAGES = 12


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("library") / "power_cut.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE], check=True)
    return library


def rebuild(folder: Path, disk: Path, target: Path) -> None:
    """Make a folder again from what is on the disk: entries of folders that were synced, and content of files."""
    _rebuild(str(folder.stat().st_ino), {path.name: path for path in disk.iterdir()}, folder, target)


def _rebuild(inode: str, disk: dict[str, Path], folder: Path, target: Path) -> None:
    target.mkdir()
    listing = disk[inode].read_text() if inode in disk else ""
    for line in listing.splitlines():
        number, _, name = line.partition(" ")
        if name in (".", ".."):
            continue
        if (folder / name).is_dir():
            _rebuild(number, disk, folder / name, target / name)
        else:
            (target / name).write_bytes(disk[number].read_bytes() if number in disk else b"")


def cut_power(start_server: Callable[..., Any], library: Path, tmp_path: Path, **settings: str) -> dict[str, Any]:
    """Submit a job of uploads, cut the power while it runs, and return the job as it was seen last."""
    disk, photos = tmp_path / "disk", tmp_path / "photos"
    disk.mkdir()
    photos.mkdir()
    write_images(photos, IMAGES, 160, 120)
    environment = {"LD_PRELOAD": str(library), "POWER_CUT_DISK": str(disk), **settings}
    server = start_server("--workers", "2", **environment)
    document = {"operations": [["resize", "80x60"], ["pause", 0.3]], "chunk_size": 1}
    job = server.client.post_job(document, sorted(photos.iterdir()))["id"]
    wait_until(lambda: server.client.job(job)["images"]["done"] >= 4)
    seen = server.client.job(job)
    manifest = server.manifest(job)
    workers = server.workers()
    server.kill()
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    data = tmp_path / "data"
    data.rename(tmp_path / "lost")
    rebuild(tmp_path / "lost", disk, data)
    return {"job": job, "seen": seen, "manifest": manifest}


def test_acknowledged_uploads_and_results_are_whole_after_the_power_failed(
    start_server: Callable[..., Any], library: Path, tmp_path: Path
) -> None:
    before = cut_power(start_server, library, tmp_path)
    assert before["seen"]["images"]["done"] < IMAGES, "the job was to be interrupted"
    server = start_server("--workers", "2")
    results = tmp_path / "data" / "store" / "results" / before["job"]
    for name, digest in before["manifest"].items():
        assert hashlib.sha256((results / name).read_bytes()).hexdigest() == digest
    ended = server.client.wait(before["job"], poll_secs=0.02)
    assert (ended["state"], ended["images"]["done"]) == ("succeeded", IMAGES)
    found = server.manifest(before["job"])
    assert found == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in results.glob("*.jpg")}
    assert before["manifest"].items() <= found.items()


def test_without_fsync_the_power_failure_loses_them(
    start_server: Callable[..., Any], library: Path, tmp_path: Path
) -> None:
    """So the test above can fail."""
    cut_power(start_server, library, tmp_path, PENSTOCK_FSYNC="false")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix == ".jpg"]
