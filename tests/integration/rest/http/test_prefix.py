"""Prefix: below the path of a proxy, all links begin with it, whether the proxy takes it off or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, AppSwitch, Serve
from nginx_server import NginxServer, running_nginx

from penstock.client import Client
from penstock.coordinator.auth.keys import ApiKey, Keys, hash_token
from penstock.coordinator.ports.links import prefix_of, read_prefix

LOOPBACK = (ip_network("127.0.0.0/8"),)
PREFIX = "/tools/penstock"
LOCATIONS = """
location /taken/ {
    rewrite ^/taken/(.*)$ /$1 break;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Prefix /taken;
    proxy_pass http://$coordinator;
}
location /left/ {
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Prefix /left;
    proxy_pass http://$coordinator;
}
"""


@pytest.fixture(scope="module")
def nginx(switch: AppSwitch, tmp_path_factory: pytest.TempPathFactory, without_service: Any) -> Iterator[NginxServer]:
    """nginx that shows the API below two paths."""
    with running_nginx(
        tmp_path_factory.mktemp("volume"), coordinator=f"127.0.0.1:{switch.port}", front=LOCATIONS
    ) as server:
        if server is None:
            without_service("nginx is not installed, and there is no Docker or no image of it (see CONTRIBUTING.md)")
        yield server


def links_in(document: Any) -> Iterator[str]:
    """Yield the paths in a document."""
    if isinstance(document, dict):
        for value in document.values():
            yield from links_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from links_in(value)
    elif isinstance(document, str) and document.startswith("/"):
        yield document


def use_everything(http: httpx.Client, coordinator: ApiServer, prefix: str, jpeg: bytes) -> None:
    """Create jobs and uploads below a prefix, and follow every link."""
    files = [("files", (f"{index}.jpg", jpeg)) for index in range(3)]
    created = http.post(f"{prefix}/v1/jobs", data={"job": '{"operations": [["split", true]]}'}, files=files)
    job = created.json()
    assert created.headers["location"] == job["url"] == f"{prefix}/v1/jobs/{job['id']}"
    coordinator.scheduler.finish(job["id"])
    upload = http.post(f"{prefix}/v1/uploads")
    assert upload.headers["location"] == upload.json()["url"]
    action = {"actions": '{"operations": [["split", true]]}'}
    documents = [job, upload.json(), http.post(f"{prefix}/process", data=action, files=files).json()]
    preset = http.put(f"{prefix}/v1/presets/small", json={"operations": [["split", True]]})
    documents.append(preset.json())
    listing = {"Accept": "application/json"}
    pages = ("/v1/jobs?limit=1", f"/v1/jobs/{job['id']}/images?limit=1", f"/v1/jobs/{job['id']}/results?limit=1")
    documents += [http.get(prefix + path).json() for path in pages]
    for path in ("/static/?limit=1", f"/static/{job['id']}/", f"/static/{job['id']}/sent/?limit=1"):
        documents.append(http.get(prefix + path, headers=listing).json())
        page = http.get(prefix + path).text
        documents.append(re.findall(r'href="([^"]*)"', page.replace("&amp;", "&")))
    links = {link for document in documents for link in links_in(document)}
    assert len(links) >= 20
    assert {link for link in links if not link.startswith(f"{prefix}/")} == set()
    for link in links:
        assert http.get(link).status_code in (200, 405), link
    moved = http.get(f"{prefix}/static/{job['id']}")
    assert (moved.status_code, moved.headers["location"]) == (307, f"{prefix}/static/{job['id']}/")


@pytest.mark.parametrize("sent", [PREFIX, ""], ids=["left", "taken-off"])
def test_links_begin_with_the_path_of_the_public_url(serve: Serve, jpeg: bytes, sent: str) -> None:
    coordinator = serve(prefix=prefix_of(f"https://x.example{PREFIX}/"))
    if sent:
        use_everything(coordinator.http, coordinator, PREFIX, jpeg)
        moved = coordinator.http.get(PREFIX)
        assert (moved.status_code, moved.headers["location"]) == (307, f"{PREFIX}/")
    job = coordinator.http.post(f"{sent}/v1/uploads").json()
    assert job["url"].startswith(f"{PREFIX}/v1/uploads/")
    for path in ("/", "/docs", "/healthz", "/openapi.json"):
        assert coordinator.http.get(sent + path).status_code == 200


@pytest.mark.parametrize("prefix", ["/taken", "/left"])
def test_everything_works_behind_nginx(serve: Serve, nginx: NginxServer, jpeg: bytes, prefix: str) -> None:
    coordinator = serve(trusted_proxies=LOOPBACK)
    with httpx.Client(base_url=nginx.front_url, timeout=30) as http:
        use_everything(http, coordinator, prefix, jpeg)
        page = http.get(f"{prefix}/")
        for name in re.findall(r'(?:src|href)="(web/[^"]+)"', page.text):
            assert http.get(f"{prefix}/{name}").status_code == 200, name


def test_the_client_library_works_below_a_prefix(serve: Serve, nginx: NginxServer, jpeg: bytes, tmp_path: Path) -> None:
    serve(trusted_proxies=LOOPBACK)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    with Client(f"{nginx.front_url}/taken") as client:
        job = client.submit({"operations": [["split", True]]}, [tmp_path / "a.jpg"])
        assert client.job(job.id).id == job.id
        assert [image.name for image in client.images(job.id)] == ["a.jpg"]


def test_a_cookie_is_for_the_prefix(serve: Serve) -> None:
    key = ApiKey(name="k", hash=hash_token("pk_secret"))
    coordinator = serve(prefix=PREFIX, keys=Keys([key]))
    answer = coordinator.http.post(f"{PREFIX}/session", json={"key": "pk_secret"})
    assert f"Path={PREFIX}/" in answer.headers["set-cookie"]
    form = coordinator.http.post(f"{PREFIX}/session", data={"key": "pk_secret"})
    assert (form.status_code, form.headers["location"]) == (303, f"{PREFIX}/")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    gone = coordinator.http.delete(
        f"{PREFIX}/session", headers={"Cookie": cookie, "Origin": str(coordinator.http.base_url).rstrip("/")}
    )
    assert f"Path={PREFIX}/" in gone.headers["set-cookie"]


@pytest.mark.parametrize("trusted", [(), (ip_network("10.0.0.0/8"),)])
def test_only_a_trusted_proxy_names_a_prefix(serve: Serve, trusted: Any) -> None:
    coordinator = serve(trusted_proxies=trusted)
    answer = coordinator.http.post("/v1/uploads", headers={"X-Forwarded-Prefix": "/evil"})
    assert answer.json()["url"].startswith("/v1/uploads/")


@pytest.mark.parametrize(
    "given", ["//evil.example", "/a/../b", "https://evil.example", "/a b", "/a?b", "/a%2f", "a", "/."]
)
def test_what_is_not_a_plain_path_is_ignored(serve: Serve, given: str) -> None:
    coordinator = serve(trusted_proxies=LOOPBACK)
    answer = coordinator.http.post("/v1/uploads", headers={"X-Forwarded-Prefix": given})
    assert answer.json()["url"].startswith("/v1/uploads/")
    assert read_prefix(given) is None


def test_a_prefix_has_no_slash_at_its_end() -> None:
    assert [read_prefix(path) for path in ("", "/", "/a", "/a/", "/a/b.c/")] == ["", "", "/a", "/a", "/a/b.c"]
    assert [prefix_of(url) for url in (None, "https://x", "https://x/", "https://x/a/")] == ["", "", "", "/a"]
