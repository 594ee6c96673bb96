"""Containers of the images at work: bytes out, orders to leave, and what they say of missing settings."""

from __future__ import annotations

import json
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
from penstock.local.server_process import find_free_port

STEPS = ["resize", "split", "blur", "encode"]
PLAN = [["resize", "160x120"], ["split", True], ["blur", "bilateral"]]
SLOW = [["resize", "1200x900"], ["blur", "bilateral"]]
DRAIN_SECS = 14
SIGTERM_BIT = 1 << 14
KILLED = 137


@dataclass
class Site:
    """A coordinator and steps, a container each, over a RabbitMQ and a folder of Docker's."""

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
        """Start a container that is removed in the end; return its id."""
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
        wait_until(self.client.is_ready)
        return container

    def wait_for_job(self, job: str) -> dict[str, Any]:
        """Return a job once it has succeeded."""
        wait_until(lambda: self.client.job(job)["state"] == "succeeded")
        return self.client.job(job)

    def leave(self, container: str) -> int:
        """Tell a container to leave; return its exit status, which is 137 where it had to be killed."""
        self.docker("stop", f"--time={DRAIN_SECS + 1}", container)
        return int(self.docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout)


@pytest.fixture
def site(images: Any, docker: Callable[..., Any], rabbitmq: RabbitServer) -> Iterator[Site]:
    with ExitStack() as stack:
        made = Site(images, rabbitmq.url, stack, docker)
        stack.callback(docker, "volume", "rm", made.volume)
        stack.callback(rabbitmq.delete_queues, *(f"penstock.step.{step}" for step in STEPS), "penstock.events")
        yield made


def test_one_container_per_step_gives_the_same_bytes_as_one_process(
    site: Site, drawn: list[Path], tmp_path: Path
) -> None:
    site.start_coordinator()
    for step in STEPS:
        site.start(step)
    job = site.client.post_job({"operations": PLAN, "output": "jpg"}, drawn[:1])["id"]
    site.wait_for_job(job)
    results = {result["name"]: site.client.fetch(result["url"]) for result in list(site.client.results(job))}
    assert results == run_in_one_process(drawn[:1], tmp_path)
    assert len(results) == 4


def run_in_one_process(photos: list[Path], folder: Path) -> dict[str, bytes]:
    """Return the results of `penstock run` by name."""
    job, out = folder / "job.json", folder / "out"
    job.write_text(json.dumps({"operations": PLAN, "output": "jpg"}))
    command = [sys.executable, "-m", "penstock", "run", *map(str, photos), "--job", str(job), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in out.glob("*.jpg")}


def test_a_busy_worker_drains_in_time_and_its_images_are_done_by_the_next(site: Site, drawn: list[Path]) -> None:
    site.start_coordinator()
    worker = site.start("step")
    job = site.client.post_job({"operations": SLOW, "output": "jpg"}, drawn * 10)["id"]
    wait_until(lambda: site.client.job(job)["images"]["done"] > 0)
    assert site.leave(worker) == 0
    assert site.client.job(job)["images"]["done"] < 60
    site.start("step")
    assert site.wait_for_job(job)["images"]["done"] == 60


def test_a_coordinator_that_is_still_starting_exits_on_sigterm(site: Site) -> None:
    container = site.start("coordinator")
    process = site.docker("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    status = Path("/proc", process, "status")
    if not status.exists():
        pytest.skip("Docker's processes are not to be seen from here")
    wait_until(lambda: hears_sigterm(status.read_text()))
    assert site.leave(container) != KILLED


def hears_sigterm(status: str) -> bool:
    """Return whether a process has a handler for SIGTERM, without which a container's first one is deaf to it."""
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) & SIGTERM_BIT)


def test_a_worker_without_a_broker_fails_with_one_line(images: Any) -> None:
    said = images.run("blur")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.splitlines() == [
        "penstock: no broker; --broker or PENSTOCK_BROKER_URL names it: amqp://user:password@host:port/vhost"
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_steps_image_supports_the_stdio_protocol(images: Any, step: str) -> None:
    command = ["docker", "run", "--rm", "--interactive", "--network=none", images.name(step), "stdio"]
    request = '{"v":1,"op":"describe"}\n'
    said = subprocess.run(command, input=request, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(said.stdout)["step"] == step
