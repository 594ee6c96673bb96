"""Fixtures for several hosts that share RabbitMQ and a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hosts import Hosts
from rabbitmq_server import RabbitServer

from penstock.common.model.messages import DEAD_LETTER_QUEUE, EVENTS_QUEUE, step_queue
from penstock.common.registry import operations
from penstock.local.sample_images import write_images

FAST_REPAIR = {"PENSTOCK_REPAIR_SECS": "1", "PENSTOCK_STEP_WALL_SECS": "5", "PENSTOCK_SWEEP_SECS": "1"}


@pytest.fixture
def start_hosts(tmp_path: Path, rabbitmq: RabbitServer, environment: dict[str, str]) -> Iterator[Callable[..., Hosts]]:
    """Starts hosts whose input root is the test's folder; stops them and deletes their queues at the end."""
    with ExitStack() as stack:

        def make(database_url: str | None = None, **more: str) -> Hosts:
            store = (tmp_path / "store").as_uri()
            variables = {**environment, **FAST_REPAIR, "PENSTOCK_INPUT_ROOT": str(tmp_path), **more}
            hosts = Hosts(tmp_path, rabbitmq.url, store, database_url, variables)
            stack.callback(rabbitmq.delete_queues, *queues())
            stack.callback(hosts.stop)
            return hosts

        yield make


def queues() -> list[str]:
    """Return all queues, including those of the tests' steps."""
    steps = {*operations(), "brighten", "trip", "pause", "twins", "scribble", "poses", "stack"}
    return [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in steps)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 drawn images below the input root."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_images(folder, 40, 320, 240)
    return folder


@pytest.fixture
def undisturbed(penstock: Any, photos: Path, tmp_path: Path) -> dict[str, str]:
    """SHA-256 by name of the results of `penstock run` for resize, split, median."""
    ops = ["--op", "resize=200x150", "--op", "split", "--op", "blur=median"]
    assert penstock("run", photos, *ops, "--out", tmp_path / "out").returncode == 0
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").glob("*.jpg")}
