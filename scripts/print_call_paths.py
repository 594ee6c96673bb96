"""Run one job in this process and print the calls between a request and its row, and between a chunk and its end.

Only Penstock's own stack frames are printed and counted. `--broker amqp://…` uses RabbitMQ instead of queues in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import httpx
import numpy as np
from fastapi import FastAPI
from sqlalchemy import Engine, event

import penstock
from penstock.common.broker.base import Broker
from penstock.common.broker.memory import MemoryBroker
from penstock.common.metrics import CallCounters
from penstock.common.registry import operations
from penstock.common.settings import BrokerSettings, CoordinatorSettings, Limits, StoreSettings, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.coordinator.api.app import create_app
from penstock.coordinator.main import build_coordinator
from penstock.coordinator.scheduling.dispatcher import DispatchSettings
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.worker import build_worker

PACKAGE = str(Path(penstock.__file__).parent)
ROUTE = "submit_job.<locals>.submit"
"""What the route does in a thread of its own, since the database blocks."""


class Recorder:
    """Stacks of Penstock's own frames, outermost first, by the path that they belong to; the first one of each."""

    def __init__(self) -> None:
        self.stacks: dict[str, list[str]] = {}

    def note(self, path: str, frame: FrameType | None, start: str) -> None:
        """Note the frames from the first call named `start` on, if there is one."""
        stack = []
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                stack.append(frame.f_code.co_qualname)
            frame = frame.f_back
        stack.reverse()
        if path not in self.stacks and start in stack:
            self.stacks[path] = stack[stack.index(start) :]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Look at the calls of threads that are started, and at the statements of databases that are opened."""
        event.listen(Engine, "connect", self.trace_sql)
        threading.setprofile(self.profile)
        try:
            yield
        finally:
            threading.setprofile(None)
            event.remove(Engine, "connect", self.trace_sql)

    def profile(self, frame: FrameType, happened: str, _: Any) -> None:
        """Look at every call of a thread; see `sys.setprofile`."""
        if happened != "call" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if "/broker/" in file:
            if name == "publish":
                self.note("dispatcher → broker", frame, "Dispatcher.dispatch_round")
            elif name == "publish_then":
                self.note("step → broker", frame, "Worker._complete")
            elif name == "ack":
                self.note("confirm → acknowledgement", frame, "Worker._on_confirm")
        elif file.endswith("/steps/resize.py"):
            self.note("delivery → step", frame, "Worker.handle")

    def trace_sql(self, connection: sqlite3.Connection, _: Any) -> None:
        """Look at every statement of a connection."""

        def note(statement: str) -> None:
            if statement.startswith("INSERT INTO jobs"):
                self.note("request → row of the job", sys._getframe(1), ROUTE)
            elif statement.startswith("INSERT INTO images"):
                self.note("request → row of an image", sys._getframe(1), ROUTE)

        connection.set_trace_callback(note)


@contextmanager
def running_worker(broker: Broker, store: Path) -> Iterator[None]:
    """Run a worker for all steps in a thread."""
    limits = Limits()
    worker = build_worker(
        "worker",
        operations(),
        LocalStore(store),
        broker,
        InProcessExecutor(limits),
        limits,
        WorkerSettings(),
        input_root=None,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()


def run_job(broker_url: str | None, folder: Path) -> Recorder:
    """Submit one image and wait for its result."""
    recorder = Recorder()
    memory = MemoryBroker()

    def open_broker(counters: CallCounters) -> Broker:
        if broker_url is None:
            return memory.counted_by(counters)
        from penstock.common.broker.rabbitmq.broker import RabbitBroker

        return RabbitBroker(broker_url, BrokerSettings(), counters)

    settings = CoordinatorSettings(data=folder, port=0)
    with (
        recorder.recording(),
        build_coordinator(
            settings,
            StoreSettings(),
            Limits(),
            WorkerSettings(),
            open_broker=open_broker,
            dispatch=DispatchSettings(),
            details="queues in memory",
        ) as coordinator,
    ):
        coordinator.leader_loop.start()
        broker = open_broker(CallCounters())
        with running_worker(broker, folder / "store"):
            asyncio.run(submit(create_app(coordinator.services)))
        broker.close()
    return recorder


async def submit(app: FastAPI) -> None:
    """Send a job of one image and wait until it has ended."""
    image = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    job = {"job": '{"operations": [["resize", "32x24"]]}'}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.post("/v1/jobs", data=job, files={"files": ("image.png", image)})
        url = answer.raise_for_status().json()["url"]
        while (await client.get(url)).json()["state"] != "succeeded":
            await asyncio.sleep(0.05)


def main() -> None:
    """Print each path with its number of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", metavar="URL")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recorder = run_job(arguments.broker, Path(folder))
    for path, stack in recorder.stacks.items():
        print(f"{path}: {len(stack)}")
        for name in stack:
            print(f"    {name}")


if __name__ == "__main__":
    main()
