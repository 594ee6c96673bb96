"""Coordinators and workers on hosts of their own, between them RabbitMQ and a folder that all can reach."""

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

QUICK_REPAIR = {"PENSTOCK_REPAIR_SECS": "1", "PENSTOCK_STEP_TIMEOUT_SECS": "5", "PENSTOCK_SWEEP_SECS": "1"}


@pytest.fixture
def start_hosts(tmp_path: Path, rabbitmq: RabbitServer, environment: dict[str, str]) -> Iterator[Callable[..., Hosts]]:
    """Make hosts whose jobs may name what lies in the test's folder; with the test they end, and their queues go."""
    with ExitStack() as stack:

        def make(database_url: str | None = None, **more: str) -> Hosts:
            store = (tmp_path / "store").as_uri()
            variables = {**environment, **QUICK_REPAIR, "PENSTOCK_INPUT_ROOT": str(tmp_path), **more}
            made = Hosts(tmp_path, rabbitmq.url, store, database_url, variables)
            stack.callback(rabbitmq.delete_queues, *queues())
            stack.callback(made.stop)
            return made

        yield make


def queues() -> list[str]:
    """Return every queue there can be, with the tests' own steps."""
    steps = {*operations(), "brighten", "trip", "pause", "twins", "scribble"}
    return [EVENTS_QUEUE, DEAD_LETTER_QUEUE, *(step_queue(step) for step in steps)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 drawn photographs below the input root."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_images(folder, 40, 320, 240)
    return folder


@pytest.fixture
def undisturbed(penstock: Any, photos: Path, tmp_path: Path) -> dict[str, str]:
    """The checksums by name that `penstock run` gives for resize, split, median, jpg."""
    ops = ["--op", "resize=200x150", "--op", "split", "--op", "blur=median"]
    assert penstock("run", photos, *ops, "--out", tmp_path / "out").returncode == 0
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").glob("*.jpg")}
