"""Starting anew after changes, as in a container that `skaffold dev` puts files into."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

PROGRAM = """
import sys
from pathlib import Path
from penstock.local.reloading import Reloader
sys.exit(Reloader([sys.executable, sys.argv[1]], Path(sys.argv[1]).parent).run())
"""
SERVICE = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
pathlib.Path({log!r}).open("a").write("{name} ")
time.sleep({secs})
"""


class Bench:
    """A service in a folder, under a reloader; `log` is where it writes at every start."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.file = folder / "code" / "service.py"
        self.file.parent.mkdir()

    def write(self, name: str, status: int = 0, secs: float = 60) -> None:
        """Write another version of the service."""
        self.file.write_text(SERVICE.format(name=name, log=str(self.log), status=status, secs=secs))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the reloader."""
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(self.file)])

    def started(self) -> list[str]:
        """Return the versions that were started, in order."""
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def reloader(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    bench.write("one", status=3)
    process = bench.start()
    wait_until(lambda: bench.started() == ["one"])
    yield process
    process.kill()
    process.wait()


def test_a_changed_file_starts_the_service_anew(bench: Bench, reloader: subprocess.Popen[bytes]) -> None:
    bench.write("second")
    wait_until(lambda: bench.started() == ["one", "second"])
    bench.file.with_name("more.py").write_text("")
    wait_until(lambda: bench.started() == ["one", "second", "second"])
    assert reloader.poll() is None


def test_a_service_that_ended_waits_for_the_next_change(bench: Bench, reloader: subprocess.Popen[bytes]) -> None:
    bench.write("broken", secs=0)
    wait_until(lambda: bench.started() == ["one", "broken"])
    bench.write("repaired", status=4)
    wait_until(lambda: bench.started() == ["one", "broken", "repaired"])
    assert reloader.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_order_to_leave_reaches_the_service_and_its_status_is_told(
    reloader: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    reloader.send_signal(number)
    assert reloader.wait(30) == 3
