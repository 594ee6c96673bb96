"""Fixtures of the REST tests: a REST API that a test can configure, and small images."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from api_server import ApiServer, AppSwitch, ManualScheduler, Serve, bound_port, make_server, make_services

from penstock.common.store.local import LocalStore
from penstock.coordinator.api.app import create_app


@pytest.fixture(scope="session")
def switch() -> Iterator[AppSwitch]:
    """A running HTTP server for the applications of all tests."""
    switch = AppSwitch()
    server = make_server(switch)
    thread = threading.Thread(target=server.run)
    thread.start()
    switch.port = bound_port(server)
    yield switch
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def serve(tmp_path: Path, switch: AppSwitch) -> Iterator[Serve]:
    """Call it with changes to the services (`limits=…`, `input_root=…`) to serve a REST API."""
    made: list[ApiServer] = []

    def start(**changes: Any) -> ApiServer:
        services = make_services(tmp_path, **changes)
        switch.app = create_app(services)
        scheduler, store = services.scheduler, services.store
        assert isinstance(scheduler, ManualScheduler)
        assert isinstance(store, LocalStore)
        http = httpx.Client(base_url=f"http://127.0.0.1:{switch.port}", timeout=120, verify=False)
        made.append(ApiServer(services, scheduler, store, switch.port, http))
        return made[-1]

    yield start
    for coordinator in made:
        coordinator.http.close()
        coordinator.services.repository.close()


@pytest.fixture
def coordinator(serve: Serve) -> ApiServer:
    """A REST API with the default limits."""
    return serve()


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small JPEG file."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.fixture(scope="session")
def png() -> bytes:
    """A small PNG file."""
    return cv2.imencode(".png", np.zeros((4, 6, 3), np.uint8))[1].tobytes()
