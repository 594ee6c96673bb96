"""Docker command line: pulling images, and starting and killing containers of steps."""

import csv
import io
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import ContainerSettings, Limits
from penstock.worker.executors.program import Launch

log = logging.getLogger(__name__)

SHARED = "/data"
"""Mount point of the shared folder in a container."""
LABEL = "penstock.folder"
_CALL_SECS = 30.0
_PULL_SECS = 600.0
_SHOWN = 300


def check_docker() -> None:
    """Raise UnavailableError if Docker is not installed, or its daemon is unreachable."""
    if shutil.which("docker") is None:
        raise _unavailable("no docker on this host; install it, or leave out --runner docker")
    asked = _docker("version", "--format", "{{.Server.Version}}")
    if asked.returncode:
        raise _unavailable(f"the Docker daemon does not answer: {_last_line(asked.stderr)}")


def ensure_images(images: Iterable[str]) -> None:
    """Pull the images that are not on this host; raises UnavailableError if one cannot be pulled."""
    for image in sorted(set(images)):
        if _docker("image", "inspect", "--format", "{{.Id}}", image).returncode == 0:
            continue
        log.info("pulling %s", image)
        pulled = _docker("pull", "--quiet", image, timeout_secs=_PULL_SECS)
        if pulled.returncode:
            raise _unavailable(f"image {image} is not on this host and cannot be pulled: {_last_line(pulled.stderr)}")


def remove_leftovers(out: Path) -> None:
    """Remove containers that a killed run left behind; the caller must hold the lock of the results folder."""
    found = _docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={_owner(out)}").stdout.split()
    if found:
        log.info("removing %d containers left by a killed run", len(found))
        _docker("rm", "--force", *found)


def list_gpus() -> list[str]:
    """Return the numbers of this host's GPUs; none without an NVIDIA driver."""
    command = ["nvidia-smi", "-L"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_CALL_SECS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))]


@dataclass(frozen=True)
class Container:
    """Starts containers of one step, one at a time. `shared` is the folder to mount, if any.

    Containers have no network and no capabilities, run as the current user, and can write only to `shared` and `/tmp`.
    """

    image: str
    settings: ContainerSettings
    limits: Limits
    out: Path
    shared: Path | None = None
    gpus: str | None = None

    def launch(self) -> Launch:
        """Return how to start and kill the next container."""
        name = f"penstock-{os.getpid()}-{next(_NUMBERS)}-{os.urandom(3).hex()}"
        return Launch(self._command(name), lambda: kill_container(name))

    def _command(self, name: str) -> list[str]:
        settings = self.settings
        command = ["docker", "run", "--rm", "--interactive", "--name", name, "--label", f"{LABEL}={_owner(self.out)}"]
        command += ["--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]  # noqa: S108
        command += ["--security-opt", "no-new-privileges", "--user", f"{os.getuid()}:{os.getgid()}"]
        command += ["--pids-limit", str(settings.container_pids), "--memory", settings.container_memory]
        command += ["--log-driver", "none"]  # otherwise the daemon would store all output
        for field, value in self.limits.changed().items():
            command += ["--env", f"PENSTOCK_{field.upper()}={value}"]
        if self.shared is not None:
            command += ["--mount", _mount(self.shared)]
        if self.gpus is not None:
            command += ["--gpus", self.gpus]
        return [*command, self.image, "stdio"]


_NUMBERS = count()


def kill_container(name: str) -> None:
    """Kill a container, if it exists."""
    with suppress(UnavailableError):
        _docker("kill", name)


def _docker(*arguments: str, timeout_secs: float = _CALL_SECS) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            ["docker", *arguments],  # noqa: S607 (found by PATH)
            capture_output=True,
            text=True,
            timeout=timeout_secs,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable(f"docker {arguments[0]} took longer than {timeout_secs:g} s") from error
    except OSError as error:
        raise _unavailable(f"docker cannot be run: {error.strerror}") from error


def _mount(shared: Path) -> str:
    """Return the value of `--mount`, a line of CSV, because a path may contain commas and colons."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={shared}", f"target={SHARED}"])
    return line.getvalue()


def _owner(out: Path) -> str:
    return f"{socket.gethostname()}:{out.absolute()}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "no message")[:_SHOWN]


def _unavailable(message: str) -> UnavailableError:
    return UnavailableError("docker", message)
