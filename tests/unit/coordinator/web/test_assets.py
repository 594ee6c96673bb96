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
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from penstock.coordinator.api import problems
from penstock.coordinator.api.routes import page
from penstock.coordinator.web.assets import BUNDLE, STYLES, read_assets

ROOT = Path(__file__).resolve().parents[4]
JOINED = (BUNDLE, STYLES)
OWN = {path: asset for path, asset in read_assets().items() if not path.startswith("vendor/") and path not in JOINED}
IMPORT = re.compile(r'\b(?:from|import) "([^"\n]+)"')


Get = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def get() -> Get:
    """Call it with a path to request it from the page's routes, which need no other service than the map's tiles."""
    app = FastAPI(docs_url=None)
    without_keys = SimpleNamespace(map_tiles=None, keys=None)
    app.include_router(page.router)
    problems.add_handlers(app)

    async def request(path: str, services: SimpleNamespace = without_keys, **options: object) -> httpx.Response:
        app.state.services = services
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
            return await client.get(path, **options)

    return lambda path, **options: asyncio.run(request(path, **options))


def test_the_page_has_one_style_sheet_with_all_of_its_own(get: Get) -> None:
    sheets = re.findall(r'rel="stylesheet" href="([^"]+)"', get("/").text)
    assert [sheet.partition("/style/")[2] for sheet in sheets] == ["bundle.css"]
    joined = get(f"/{sheets[0]}").text
    for name in ("base", "views", "job", "system", "new-job"):
        assert OWN[f"style/{name}.css"].content.decode() in joined


def test_only_a_page_whose_requests_may_be_answered_preloads_them(get: Get) -> None:
    preloads = re.compile('rel="preload" as="fetch" href="([^"]+)"')
    assert preloads.findall(get("/").text) == ["session", "v1/operations", "v1/formats"]
    with_keys = SimpleNamespace(map_tiles=None, keys=object())
    assert preloads.findall(get("/", services=with_keys).text) == []
    logged_in = get("/", services=with_keys, headers={"Cookie": "penstock_session=x"})
    assert len(preloads.findall(logged_in.text)) == 3


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
        if target.startswith("node:"):  # in an example that the page shows
            continue
        assert target.startswith((".", "/web/")), f"{path} imports {target}"
        assert posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) in read_assets()


def test_pages_have_no_inline_code_and_load_nothing_from_other_sites() -> None:
    for path, asset in OWN.items():
        text = asset.content.decode()
        assert not re.search(r"(?:src|href|url|import|fetch)\W{0,3}https?://", text), path
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), path
        if path.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", text), path


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
        named = re.findall(r'(?:src|href)="(web/[^"]+)"', get(path).text)
        assert named
        assert {get(f"/{each}").status_code for each in named} == {200}


def test_files_that_pages_name_are_kept_for_ever_and_packed(get: Get) -> None:
    for path in ("/", "/docs"):
        page = get(path)
        assert page.headers["cache-control"] == "no-cache"
        for each in re.findall(r'(?:src|href)="(web/[^"]+)"', page.text):
            packed, plain = (get(f"/{each}", headers={"Accept-Encoding": how}) for how in ("gzip, br", "gzip;q=0"))
            assert packed.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert packed.headers["vary"] == "Accept-Encoding"
            assert packed.content == plain.content
            assert packed.headers["content-encoding"] == "gzip", each
            assert "content-encoding" not in plain.headers
            assert packed.headers["etag"] != plain.headers["etag"]
            assert int(packed.headers["content-length"]) < len(plain.content)


def test_a_page_needs_one_script_and_little_else(get: Get) -> None:
    named = re.findall(r'(?:src|href)="(web/[^"]+)"', get("/").text)
    assert len([each for each in named if not each.endswith(".svg")]) <= 6, "each may take a round trip"
    sizes = [int(get(f"/{each}", headers={"Accept-Encoding": "gzip"}).headers["content-length"]) for each in named]
    assert sum(sizes) < 80_000


def test_the_bundle_has_every_module_that_the_page_imports() -> None:
    text = read_assets()["bundle.js"].content.decode()
    assert not re.search(r"^\s*(import|export)\b", text, re.MULTILINE)
    for path in OWN:
        if path.startswith(("lib/", "parts/", "views/")):
            lines = [
                line for line in OWN[path].content.decode().splitlines() if not line.startswith(("import", "export"))
            ]
            assert max(lines, key=len) in text, path


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
