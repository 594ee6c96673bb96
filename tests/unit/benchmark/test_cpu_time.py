"""Whose the cores were: seconds of all that one started count as one's own, those of others do not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.benchmark.cpu_time import Watch, used_secs

TIMEOUT_SECS = 60
BURN = "import time\nwhile time.process_time() < 0.5: pass"
OUTLIVED = f"""
import subprocess, sys, time
from penstock.benchmark.cpu_time import Watch, adopt_orphans
adopt_orphans()
watch = Watch()
subprocess.run(["sh", "-c", '"$0" -c "$1" & exit 0', sys.executable, {BURN!r}], check=True)
while watch.read()[1] < 0.4:
    time.sleep(0.05)
print(watch.read()[1])
"""

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells")


def test_what_one_started_counts_as_ones_own_also_once_it_has_ended() -> None:
    watch = Watch()
    subprocess.run([sys.executable, "-c", BURN], check=True, timeout=TIMEOUT_SECS)
    secs, own, share = watch.read()
    assert own >= 0.4
    assert secs > 0
    assert 0 < share <= 1


def test_processes_that_outlive_who_started_them_count_as_well() -> None:
    told = subprocess.run(
        [sys.executable, "-c", OUTLIVED], check=True, capture_output=True, text=True, timeout=TIMEOUT_SECS
    )
    assert float(told.stdout) >= 0.4


def test_cores_that_somebody_uses_are_told_as_used_and_others_are_not_looked_at() -> None:
    cores = os.sched_getaffinity(0)
    before = used_secs(cores)
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass
    assert used_secs(cores) - before >= 0.2
    assert used_secs(set()) == 0.0
