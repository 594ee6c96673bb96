"""Running containers of the images: results, termination, and errors."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from rabbitmq_server import RabbitServer
from waiting import wait_until

from penstock.benchmark.http import RestClient
from penstock.client import Client
from penstock.common.model.operations import BUILT_IN
from penstock.local.server_process import find_free_port, is_ready

STEPS = [*BUILT_IN]
PLAN = [["resize", "160x120"], ["split", True], ["blur", "bilateral"]]
SLOW = [["resize", "1200x900"], ["blur", "bilateral"]]
DRAIN_SECS = 14
SIGTERM_BIT = 1 << 14
KILLED = 137


@dataclass
class Installation:
    """A coordinator and steps, one container each, with a RabbitMQ and a Docker volume."""

    images: Any
    broker_url: str
    stack: ExitStack
    docker: Callable[..., subprocess.CompletedProcess[str]]
    volume: str = field(default_factory=lambda: f"penstock-test-{secrets.token_hex(4)}")
    port: int = field(default_factory=find_free_port)

    @cached_property
    def client(self) -> RestClient:
        """A connection to the coordinator."""
        return self.stack.enter_context(RestClient(f"http://127.0.0.1:{self.port}"))

    def start(self, target: str) -> str:
        """Start a container, which is removed afterwards; return its id."""
        variables = {
            "PENSTOCK_BROKER_URL": self.broker_url,
            "PENSTOCK_STORE_URL": "file:///data/store",
            "PENSTOCK_HOST": "127.0.0.1",
            "PENSTOCK_PORT": str(self.port),
        }
        options = ["--network=host", f"--volume={self.volume}:/data"]
        options += [f"--env={name}={value}" for name, value in variables.items()]
        return self.stack.enter_context(self.images.started(target, options=options))

    def start_coordinator(self) -> str:
        """Start a coordinator and wait until it is ready."""
        container = self.start("coordinator")
        wait_until(lambda: is_ready(self.client.url))
        return container

    def wait_for_job(self, job: str) -> dict[str, Any]:
        """Return a job once it has succeeded."""
        wait_until(lambda: self.client.job(job)["state"] == "succeeded")
        return self.client.job(job)

    def stop(self, container: str) -> int:
        """Stop a container; return its exit status, which is 137 if it had to be killed."""
        self.docker("stop", f"--time={DRAIN_SECS + 1}", container)
        return int(self.docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout)


@pytest.fixture
def installation(images: Any, docker: Callable[..., Any], rabbitmq: RabbitServer) -> Iterator[Installation]:
    with ExitStack() as stack:
        made = Installation(images, rabbitmq.url, stack, docker)
        stack.callback(docker, "volume", "rm", made.volume)
        stack.callback(rabbitmq.delete_queues, *(f"penstock.step.{step}" for step in STEPS), "penstock.events")
        yield made


def test_one_container_per_step_gives_the_same_bytes_as_one_process(
    installation: Installation, drawn: list[Path], tmp_path: Path
) -> None:
    installation.start_coordinator()
    for step in STEPS:
        installation.start(step)
    job = installation.client.post_job({"operations": PLAN, "output": "jpg"}, drawn[:1])["id"]
    installation.wait_for_job(job)
    results = {
        result["name"]: installation.client.fetch(result["url"]) for result in list(installation.client.results(job))
    }
    assert results == run_in_one_process(drawn[:1], tmp_path)
    assert len(results) == 4


def run_in_one_process(photos: list[Path], folder: Path) -> dict[str, bytes]:
    """Return the results of `penstock run` by name."""
    job, out = folder / "job.json", folder / "out"
    job.write_text(json.dumps({"operations": PLAN, "output": "jpg"}))
    command = [sys.executable, "-m", "penstock", "run", *map(str, photos), "--job", str(job), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in out.glob("*.jpg")}


def test_a_busy_worker_drains_in_time_and_its_images_are_done_by_the_next(
    installation: Installation, drawn: list[Path]
) -> None:
    installation.start_coordinator()
    worker = installation.start("step")
    job = installation.client.post_job({"operations": SLOW, "output": "jpg"}, drawn * 10)["id"]
    wait_until(lambda: installation.client.job(job)["images"]["done"] > 0)
    assert installation.stop(worker) == 0
    assert installation.client.job(job)["images"]["done"] < 60
    installation.start("step")
    assert installation.wait_for_job(job)["images"]["done"] == 60


def test_a_coordinator_that_is_still_starting_exits_on_sigterm(installation: Installation) -> None:
    container = installation.start("coordinator")
    process = installation.docker("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    status = Path("/proc", process, "status")
    if not status.exists():
        pytest.skip("Docker's processes are not visible from here")
    wait_until(lambda: handles_sigterm(status.read_text()))
    assert installation.stop(container) != KILLED


def handles_sigterm(status: str) -> bool:
    """Return whether a process handles SIGTERM; without a handler, the first process of a container ignores it."""
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) & SIGTERM_BIT)


def test_a_worker_without_a_broker_fails_with_one_line(images: Any) -> None:
    done = images.run("blur")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "penstock: no broker; give --broker or PENSTOCK_BROKER_URL: amqp://user:password@host:port/vhost"
    ]


def test_one_container_serves_with_a_key_of_its_own_that_outlives_it(
    images: Any, docker: Callable[..., Any], drawn: list[Path]
) -> None:
    volume, port = f"penstock-{images.tag}", find_free_port()
    options = ["--network", "host", "--env", f"PENSTOCK_PORT={port}", "--volume", f"{volume}:/data"]
    options += ["--env", "PENSTOCK_LOG_LEVEL=error"]
    url = f"http://127.0.0.1:{port}"
    try:
        with images.started("all-in-one", options=options) as container:
            wait_until(lambda: is_ready(url))
            (token,) = re.findall(r"pk_[\w-]+", docker("logs", container).stdout)
            with Client(url, api_key=token) as client:
                job = client.run(drawn[:1], ["resize=inside:60x60"])
            docker("stop", container)
        with images.started("all-in-one", options=options) as container, Client(url, api_key=token) as client:
            assert client.job(job.id).images.done == 1
            logs = docker("logs", container)
            assert "pk_" not in logs.stdout + logs.stderr
    finally:
        docker("volume", "rm", "--force", volume)


@pytest.mark.parametrize("step", STEPS)
def test_a_steps_image_supports_the_stdio_protocol(images: Any, step: str) -> None:
    command = ["docker", "run", "--rm", "--interactive", "--network=none", images.name(step), "stdio"]
    request = '{"v":1,"op":"describe"}\n'
    done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["step"] == step
