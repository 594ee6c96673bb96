"""Debian's Chromium, driven by Playwright, before a real `penstock serve` that has the tests' own steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from penstock.benchmark.http import RestClient
from penstock.local.server_process import find_free_port, serve

PLUGINS = Path(__file__).parents[2] / "plugins"
VIEWPORT = {"width": 1200, "height": 900}
TIMEOUT_MS = 30_000
RAISES = (0, 255, 0)


@pytest.fixture(scope="session")
def chromium(without_service: Callable[[str], NoReturn]) -> str:
    """The browser's program: `PENSTOCK_TEST_CHROMIUM`, or the one that is installed."""
    named = os.environ.get("PENSTOCK_TEST_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        without_service("no Chromium is installed (Debian: apt-get install chromium)")
    return found


# For a module and no longer: while Playwright runs, no other test in this process could run an event loop.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A running browser without a window."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


@dataclass(frozen=True)
class Server:
    """A running server, the folder that jobs may name files of, and what speaks to it without a browser."""

    url: str
    inputs: Path
    client: RestClient

    def submit(self, photos: list[Path], operations: list[Any], **more: Any) -> str:
        """Submit a job of pictures and return its id."""
        return str(self.client.post_job({"operations": operations, **more}, photos)["id"])

    def wait(self, job: str) -> dict[str, Any]:
        """Return a job once it has ended."""
        return self.client.wait(job, poll_secs=0.02)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests here."""
    folder = tmp_path_factory.mktemp("served")
    inputs = folder / "inputs"
    inputs.mkdir()
    path = os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")]))
    environment = {
        "PYTHONPATH": path,
        "PENSTOCK_MAX_ATTEMPTS": "2",
        "PENSTOCK_WORKERS": "2",
        "PENSTOCK_API_KEYS": "",
        "PENSTOCK_WEBHOOK_ALLOW": '["http://127.0.0.1"]',
        "PENSTOCK_WEBHOOK_SECRET": "known to the tests alone",
        "PENSTOCK_WEBHOOK_ATTEMPTS": "2",
        "PENSTOCK_WEBHOOK_FIRST_PAUSE_SECS": "0.2",
    }
    options = ["--data", str(folder / "data"), "--input-root", str(inputs)]
    running = serve(options, port=find_free_port(), environment=environment, log=folder / "log")
    with running as (url, _), RestClient(url) as client:
        yield Server(url, inputs, client)


@dataclass
class Watch:
    """What a page said and asked for. Refusals that a test provokes are `expected`, by a part of the message."""

    home: str
    messages: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        """Keep a warning or an error of the console."""
        if message.type in ("warning", "error"):
            self.messages.append(message.text)

    def unexpected(self) -> list[str]:
        """Return what nobody expected."""
        return [text for text in self.messages if not any(part in text for part in self.expected)] + self.outside


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Any]]:
    """Open pages in contexts of their own; none may complain, break its policy, or ask anybody else for anything."""

    @contextmanager
    def opened(**options: Any) -> Iterator[tuple[Page, Watch]]:
        context = browser.new_context(**{"base_url": server.url, "viewport": VIEWPORT, **options})
        context.set_default_timeout(TIMEOUT_MS)
        page, watch = context.new_page(), Watch(options.get("base_url", server.url))
        page.on("console", watch.note)
        page.on("pageerror", lambda error: watch.messages.append(str(error)))
        page.on("request", lambda request: request.url.startswith(watch.home) or watch.outside.append(request.url))
        try:
            yield page, watch
            assert watch.unexpected() == []
        finally:
            context.close()

    return opened


@pytest.fixture
def watched(open_page: Callable[..., Any]) -> Iterator[tuple[Page, Watch]]:
    """A page of usual size, and what it says."""
    with open_page() as both:
        yield both


@pytest.fixture
def page(watched: tuple[Page, Watch]) -> Page:
    """A page of usual size."""
    return watched[0]


@pytest.fixture
def tripping(tmp_path: Path, drawn: list[Path]) -> list[Path]:
    """Two pictures, of which `trip` does not get over the second."""
    path = tmp_path / "trips.png"
    cv2.imwrite(str(path), np.full((24, 32, 3), RAISES, np.uint8))
    return [drawn[0], path]
