"""CPU time of this process, its descendants, and other programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cpu_time import CpuWatch, used_secs

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
TIMEOUT_SECS = 60
BURN = "import time\nwhile time.process_time() < 0.5: pass"
ORPHAN = f"""
import subprocess, sys, time
from cpu_time import CpuWatch, adopt_orphans
adopt_orphans()
watch = CpuWatch()
subprocess.run(["sh", "-c", '"$0" -c "$1" & exit 0', sys.executable, {BURN!r}], check=True)
while watch.read()[1] < 0.4:
    time.sleep(0.05)
print(watch.read()[1])
"""

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")


def test_ended_child_processes_count_as_own() -> None:
    watch = CpuWatch()
    subprocess.run([sys.executable, "-c", BURN], check=True, timeout=TIMEOUT_SECS)
    secs, own, share = watch.read()
    assert own >= 0.4
    assert secs > 0
    assert 0 < share <= 1


def test_adopted_orphans_count_as_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN],
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
    )
    assert float(done.stdout) >= 0.4


def test_busy_seconds_are_those_of_the_given_cores() -> None:
    cores = os.sched_getaffinity(0)
    before = used_secs(cores)
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass
    assert used_secs(cores) - before >= 0.2
    assert used_secs(set()) == 0.0
