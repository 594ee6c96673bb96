"""Real processes with API keys: which of them start, and a key from creation to results."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from penstock.client import Client, RefusedError

NAMED = "give PENSTOCK_API_KEYS (`penstock key NAME` makes one), or PENSTOCK_OPEN=true"


@pytest.mark.parametrize(
    ("arguments", "host"),
    [(["serve"], "::"), (["coordinator", "--broker", "amqp://127.0.0.1:1"], "0.0.0.0")],
    ids=["serve", "coordinator"],
)
def test_no_server_starts_on_other_addresses_without_keys_or_an_explicit_open(
    penstock, tmp_path: Path, arguments: list[str], host: str
) -> None:
    ended = penstock(*arguments, "--host", host, "--port", "0", "--data", tmp_path / "data")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"penstock: {host} is not loopback: {NAMED} to serve without keys\n"


def test_an_explicit_open_needs_no_keys(start_server) -> None:
    server = start_server("--host", "0.0.0.0", "--workers", "1", PENSTOCK_OPEN="true")
    assert server.call("GET", "/session") == {"open": True, "name": None, "admin": True}
    assert httpx.get(f"{server.client.url}/v1/jobs", headers={"Host": "penstock.example"}).status_code == 200


def test_a_foreign_host_name_is_refused_on_loopback(start_server) -> None:
    server = start_server("--workers", "1")
    refused = httpx.get(f"{server.client.url}/v1/jobs", headers={"Host": "evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_host")


def test_an_invalid_key_cannot_be_created(penstock) -> None:
    ended = penstock("key", "delft", "--max-open-jobs", "0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("penstock: key: max_open_jobs: accepted is 1 or more")


def test_a_created_key_works_for_library_and_command(penstock, start_server, tmp_path: Path) -> None:
    made = penstock("key", "delft", "--weight", "2")
    token, entry = made.stdout.splitlines()
    assert json.loads(entry).items() >= {"name": "delft", "weight": 2}.items()
    server = start_server("--host", "0.0.0.0", "--workers", "1", PENSTOCK_API_KEYS=f"[{entry}]")
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((24, 32, 3), 90, np.uint8))
    with Client(server.client.url, api_key=token) as client:
        job = client.submit({"operations": [["split", True]], "output": "png"}, [image])
        assert client.wait(job.id).state == "succeeded"
        results = list(client.results(job.id))
        assert [client.download(result, tmp_path / "out") for result in results] == [True] * 4
        assert [event.kind for event in client.events(job.id)][-1] == "end"
    by_command = {"PENSTOCK_SERVER": server.client.url, "PENSTOCK_API_KEY": token}
    listed = penstock("jobs", "--json", **by_command)
    assert job.id in listed.stdout
    refused = penstock("jobs", **{**by_command, "PENSTOCK_API_KEY": "pk_wrong"})
    assert refused.returncode == 2
    assert "this server does not know the API key" in refused.stderr
    with Client(server.client.url) as nobody, pytest.raises(RefusedError, match="needs an API key"):
        nobody.job(job.id)
    log = (tmp_path / "log").read_text()
    assert token not in log
