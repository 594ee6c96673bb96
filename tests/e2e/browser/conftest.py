"""Chromium, driven by Playwright, on a real `penstock serve` with the test steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from browser_support import OpenPage, PageLog, Server
from playwright.sync_api import Browser, Page, expect, sync_playwright

from penstock.benchmark.http import RestClient
from penstock.local.server_process import find_free_port, serve

PLUGINS = Path(__file__).parents[2] / "plugins"
VIEWPORT = {"width": 1200, "height": 900}
TIMEOUT_MS = 30_000
FAILING_COLOUR = (0, 255, 0)


@pytest.fixture(scope="session")
def chromium(without_service: Callable[[str], NoReturn]) -> str:
    """The path of Chromium: `PENSTOCK_TEST_CHROMIUM`, or the installed one."""
    named = os.environ.get("PENSTOCK_TEST_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        without_service("no Chromium is installed (Debian: apt-get install chromium)")
    return found


# Not for the session: while Playwright runs, no other test in this process can run an event loop.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless browser."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all browser tests share."""
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


@pytest.fixture
def open_page(browser: Browser, server: Server) -> OpenPage:
    """Call it to open a page in its own context. It fails on console errors, policy violations and foreign requests."""

    @contextmanager
    def opened(**options: Any) -> Iterator[tuple[Page, PageLog]]:
        context = browser.new_context(**{"base_url": server.url, "viewport": VIEWPORT, **options})
        context.set_default_timeout(TIMEOUT_MS)
        page, log = context.new_page(), PageLog(options.get("base_url", server.url))
        page.on("console", log.note)
        page.on("pageerror", lambda error: log.messages.append(str(error)))
        page.on("request", lambda request: request.url.startswith(log.base_url) or log.outside.append(request.url))
        try:
            yield page, log
            assert log.unexpected() == []
        finally:
            context.close()

    return opened


@pytest.fixture
def watched(open_page: OpenPage) -> Iterator[tuple[Page, PageLog]]:
    """A page of the usual size, and its log."""
    with open_page() as both:
        yield both


@pytest.fixture
def page(watched: tuple[Page, PageLog]) -> Page:
    """A page of the usual size."""
    return watched[0]


@pytest.fixture
def failing_images(tmp_path: Path, drawn: list[Path]) -> list[Path]:
    """Two images; the step `trip` fails on the second."""
    path = tmp_path / "trips.png"
    cv2.imwrite(str(path), np.full((24, 32, 3), FAILING_COLOUR, np.uint8))
    return [drawn[0], path]
