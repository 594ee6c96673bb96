"""Reloader: restarts a command after changes, as in a container that `skaffold dev` copies files into."""

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
from penstock.local.reloading import run
sys.exit(run([sys.executable, sys.argv[1]], Path(sys.argv[1]).parent))
"""
PROGRAM_OF_SERVICE = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
pathlib.Path({log!r}).open("a").write("{name} ")
time.sleep({secs})
"""


class Service:
    """A service run by a reloader; it writes its version to `log` at every start."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.file = folder / "code" / "service.py"
        self.file.parent.mkdir()

    def write(self, name: str, status: int = 0, secs: float = 60) -> None:
        """Write a version of the service."""
        self.file.write_text(PROGRAM_OF_SERVICE.format(name=name, log=str(self.log), status=status, secs=secs))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the reloader."""
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(self.file)])

    def started(self) -> list[str]:
        """Return the started versions, in order."""
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
def reloader(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    service.write("one", status=3)
    process = service.start()
    wait_until(lambda: service.started() == ["one"])
    yield process
    process.kill()
    process.wait()


def test_a_changed_file_restarts_the_service(service: Service, reloader: subprocess.Popen[bytes]) -> None:
    service.write("second")
    wait_until(lambda: service.started() == ["one", "second"])
    service.file.with_name("more.py").write_text("")
    wait_until(lambda: service.started() == ["one", "second", "second"])
    assert reloader.poll() is None


def test_a_service_that_ended_is_restarted_by_the_next_change(
    service: Service, reloader: subprocess.Popen[bytes]
) -> None:
    service.write("broken", secs=0)
    wait_until(lambda: service.started() == ["one", "broken"])
    service.write("repaired", status=4)
    wait_until(lambda: service.started() == ["one", "broken", "repaired"])
    assert reloader.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_and_its_status_is_returned(
    reloader: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    reloader.send_signal(number)
    assert reloader.wait(30) == 3
