"""Browser tests: the running server, and what a page logs and requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page

from penstock.benchmark.http import RestClient


@dataclass(frozen=True)
class Server:
    """A running server, its input folder, and a client for it."""

    url: str
    inputs: Path
    client: RestClient

    def submit(self, images: list[Path], operations: list[Any], **more: Any) -> str:
        """Submit a job and return its id."""
        return str(self.client.post_job({"operations": operations, **more}, images)["id"])

    def wait(self, job: str) -> dict[str, Any]:
        """Wait until a job has ended and return it."""
        return self.client.wait(job, poll_secs=0.02)


@dataclass
class PageLog:
    """Console messages of a page and requests to other sites; a test adds those it provokes to `expected`."""

    base_url: str
    messages: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        """Keep warnings and errors, but not of thumbnails, which a failed image does not have, nor of previews and
        estimates, which are refused for operations that are not complete yet."""
        url = message.location.get("url", "")
        may_fail = any(part in url for part in ("/thumbnail", "/v1/process?", "dry_run="))
        if message.type in ("warning", "error") and not may_fail:
            self.messages.append(message.text)

    def unexpected(self) -> list[str]:
        """Return the messages that are not expected, and the requests to other sites."""
        return [text for text in self.messages if not any(part in text for part in self.expected)] + self.outside


OpenPage = Callable[..., AbstractContextManager[tuple[Page, PageLog]]]
"""Opens a page with options of a browser context."""
