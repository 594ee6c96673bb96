"""Penstock's images, built from this checkout, and containers with the same restrictions as in a cluster."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from penstock.common.model.operations import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]
STEPS = [*BUILT_IN]
TARGETS = ["coordinator", "all-in-one", "step", *STEPS]
BUILD_SECS, COMMAND_SECS = 900, 120
CONFINED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


@dataclass(frozen=True)
class Images:
    """The images under a unique tag; `table` is the output of the build."""

    tag: str
    table: str

    def name(self, target: str) -> str:
        """Return the name of an image."""
        return f"local/penstock-{target}:{self.tag}"

    def inspect(self, target: str) -> Any:
        """Return Docker's description of an image."""
        (found,) = json.loads(docker("image", "inspect", self.name(target)).stdout)
        return found

    def run(self, target: str, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a confined container and wait for it."""
        return docker("run", "--rm", *CONFINED, *options, self.name(target), *arguments, check=False)

    def python(self, target: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in a confined container."""
        return self.run(target, "-c", code, options=["--entrypoint", "python3"])

    @contextmanager
    def started(self, target: str, *arguments: str, options: Sequence[str] = ()) -> Iterator[str]:
        """Start a confined container and remove it afterwards; yields its id."""
        began = docker("run", "--detach", *CONFINED, *options, self.name(target), *arguments)
        container = began.stdout.strip()
        try:
            yield container
        finally:
            docker("rm", "--force", container)


def docker(*arguments: str, check: bool = True, secs: float = COMMAND_SECS) -> subprocess.CompletedProcess[str]:
    """Run a docker command and wait for it."""
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=secs, check=False)
    assert not check or ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="session")
def images(without_service: Callable[[str], NoReturn]) -> Iterator[Images]:
    """All images, removed afterwards."""
    if shutil.which("docker") is None or docker("info", check=False).returncode:
        without_service("Docker is not available")
    tag = f"test-{secrets.token_hex(4)}"
    environment = {**os.environ, "REGISTRY": "local", "TAG": tag}
    built = subprocess.run(
        ["bash", str(ROOT / "scripts" / "build_images.sh")],
        capture_output=True,
        text=True,
        timeout=BUILD_SECS,
        check=False,
        env=environment,
    )
    made = Images(tag, built.stdout)
    try:
        assert built.returncode == 0, built.stderr
        yield made
    finally:
        docker("rmi", *map(made.name, TARGETS), check=False)


@pytest.fixture(scope="session", name="docker")
def docker_command(images: Images) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs docker commands."""
    return docker
