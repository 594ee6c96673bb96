"""The web page's files: libraries match their pins, and the pages fit a strict content security policy."""

from __future__ import annotations

import asyncio
import json
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from penstock.common.model.errors import ImageCode
from penstock.coordinator.api import problems
from penstock.coordinator.api.routes import page
from penstock.coordinator.web.assets import read_assets

ROOT = Path(__file__).resolve().parents[4]
OWN = {path: asset for path, asset in read_assets().items() if not path.startswith("vendor/")}
IMPORT = re.compile(r'\b(?:from|import) "([^"\n]+)"')


Get = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def get() -> Get:
    """Call it with a path to request it from the page's routes."""
    app = FastAPI(docs_url=None)
    app.include_router(page.router)
    problems.add_handlers(app)

    async def request(path: str, **options: object) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
            return await client.get(path, **options)

    return lambda path, **options: asyncio.run(request(path, **options))


def test_vendored_files_match_their_pins() -> None:
    script = ROOT / "scripts" / "vendor_web.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert checked.stderr == ""
    assert checked.returncode == 0


def test_every_library_is_pinned_with_its_licence_and_without_a_url() -> None:
    pins = (ROOT / "services/penstock/coordinator/web/vendored.json").read_text()
    packages = json.loads(pins)
    assert "://" not in pins + (ROOT / "scripts" / "vendor_web.py").read_text()
    for name, package in packages.items():
        assert "LICENSE" in package["files"], name
        assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", package["version"]), name
    folder = ROOT / "services/penstock/coordinator/web/assets/vendor"
    pinned = {
        ROOT / package["folder"] / file["as"] for package in packages.values() for file in package["files"].values()
    }
    assert {path for path in folder.rglob("*") if path.is_file()} <= pinned


@pytest.mark.parametrize("path", [path for path in OWN if path.endswith(".js")])
def test_every_import_of_a_module_exists(path: str) -> None:
    for target in IMPORT.findall(OWN[path].content.decode()):
        assert target.startswith((".", "/web/")), f"{path} imports {target}"
        assert posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) in read_assets()


def test_pages_have_no_inline_code_and_load_nothing_from_other_sites() -> None:
    for path, asset in OWN.items():
        text = asset.content.decode()
        assert not re.search(r"(?:src|href|url|import|fetch)\W{0,3}https?://", text), path
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), path
        if path.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", text), path


def test_every_code_of_a_failed_image_has_advice() -> None:
    text = OWN["lib/advice.js"].content.decode()
    assert set(re.findall(r"^  (\w+): ", text, re.MULTILINE)) == {code.value for code in ImageCode}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_has_a_policy_that_allows_only_this_server(get: Get, path: str) -> None:
    answer = get(path)
    policy = answer.headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert {rules[kind] for kind in ("script-src", "style-src", "connect-src", "font-src")} == {"'self'"}
    assert "unsafe" not in policy
    assert rules["img-src"] == ("'self' data:" if path == "/docs" else "'self'")


def test_every_file_that_a_page_refers_to_exists(get: Get) -> None:
    for path in ("/", "/docs"):
        named = re.findall(r'(?:src|href)="(/web/[^"]+)"', get(path).text)
        assert named
        assert {get(each).status_code for each in named} == {200}


def test_an_unchanged_file_is_not_sent_again(get: Get) -> None:
    first = get("/web/app.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    for tag in (first.headers["etag"], f"W/{first.headers['etag']}"):
        again = get("/web/app.js", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
    assert get("/web/app.js", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["assets.py", "../assets.py", "%2e%2e/vendored.json", "vendor/preact/LICENSE", "", "/etc/passwd"]
)
def test_only_the_pages_files_are_served(get: Get, path: str) -> None:
    answer = get(f"/web/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, problems.MEDIA_TYPE)
