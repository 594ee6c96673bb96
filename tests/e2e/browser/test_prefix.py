"""The page behind nginx, below a path: submit a job, see its results, read about the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from browser_support import OpenPage, Server
from nginx_server import running_nginx
from playwright.sync_api import expect

LOCATION = """
location /tools/penstock/ {
    rewrite ^/tools/penstock/(.*)$ /$1 break;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Prefix /tools/penstock;
    proxy_pass http://$coordinator;
}
"""


@pytest.fixture(scope="module")
def below(server: Server, tmp_path_factory: Any, without_service: Callable[[str], NoReturn]) -> Iterator[str]:
    """The URL of the page below a path."""
    volume, address = tmp_path_factory.mktemp("volume"), server.url.removeprefix("http://")
    with running_nginx(volume, coordinator=address, front=LOCATION) as nginx:
        if nginx is None:
            without_service("nginx is not installed, and there is no Docker or no image of it (see CONTRIBUTING.md)")
        yield f"{nginx.front_url}/tools/penstock"


def test_a_job_is_submitted_and_seen_below_a_path(open_page: OpenPage, below: str, drawn: list[Path]) -> None:
    with open_page(base_url=below) as (page, log):
        page.goto(f"{below}/")
        page.locator("input[type=file]").first.set_input_files(drawn[:2])
        page.get_by_role("button", name="Submit job").click()
        expect(page.locator(".facts .badge")).to_have_text("succeeded")
        expect(page.locator("img[src^='/tools/penstock/']").first).to_be_visible()
        page.goto(f"{below}/#/jobs")
        expect(page.locator("img[src^='/tools/penstock/']").first).to_be_visible()
        page.goto(f"{below}/docs")
        expect(page.get_by_text("Submit a job").first).to_be_visible()
        assert log.outside == []
