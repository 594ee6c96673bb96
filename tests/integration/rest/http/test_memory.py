"""The memory of a coordinator's process does not grow with the size of uploads and downloads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_process import ApiProcess, running_api

from penstock.common.model.messages import Event, Outcome, Result
from penstock.common.model.regions import Region
from penstock.coordinator.database.repository import SqlRepository

MiB = 1024 * 1024
FILE_BYTES = 32 * MiB

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ApiProcess]:
    """A REST API in its own process."""
    with running_api(tmp_path) as process:
        yield process


def upload(client: httpx.Client, files: int, file_bytes: int) -> dict[str, Any]:
    """Upload generated files."""

    def body() -> Iterator[bytes]:
        yield b'--B\r\nContent-Disposition: form-data; name="job"\r\n\r\n{"operations": [["split", true]]}\r\n'
        for index in range(files):
            yield b'--B\r\nContent-Disposition: form-data; name="files"; filename="%d.jpg"\r\n\r\n' % index
            yield b"\xff\xd8\xff"
            for _ in range(file_bytes // 65536):
                yield bytes(65536)
            yield b"\r\n"
        yield b"--B--\r\n"

    answer = client.post(
        "/v1/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=B", "Idempotency-Key": "k"}
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_an_upload_does_not_raise_the_memory_by_its_size(process: ApiProcess) -> None:
    client = process.http
    client.get("/v1/jobs")
    before = process.peak_bytes()
    job = upload(client, files=8, file_bytes=FILE_BYTES)
    assert process.peak_bytes() - before < 32 * MiB
    received = 0
    with client.stream("GET", f"/static/{job['id']}/sent/7.jpg") as answer:
        for piece in answer.iter_bytes():
            received += len(piece)
    assert received == FILE_BYTES + 3
    assert process.peak_bytes() - before < 40 * MiB, (process.peak_bytes() - before) / MiB


def test_lists_of_images_with_many_regions_do_not_raise_the_memory_by_their_size(
    process: ApiProcess, tmp_path: Path
) -> None:
    client = process.http
    job = upload(client, files=40, file_bytes=0)
    before = process.peak_bytes()
    regions = tuple(Region(box=(number, 1, 2, 3), label="a face in a street") for number in range(700))
    result = Result(key="k", name="n", size=1, media_type="image/jpeg", width=1, height=1, sha256="0", regions=regions)
    repository = SqlRepository.sqlite(tmp_path / "penstock.db")
    for image in range(40):
        results = [result.model_copy(update={"name": f"{image}-{part}.jpg"}) for part in range(3)]
        done = Outcome(id=image, state="done", results=results)
        repository.apply([Event(kind="finished", job=job["id"], run=0, chunk="c", outcomes=[done])])
    for name, count in ("images", 40), ("results", 120):
        url, seen, most_bytes = f"{job['url']}/{name}?limit=1000", 0, 0
        while url:
            answer = client.get(url)
            page = answer.json()
            seen, most_bytes = seen + len(page[name]), max(most_bytes, len(answer.content))
            url = page["next"]
        assert seen == count
        assert most_bytes < 2 * MiB
    lines = 0
    with client.stream("GET", f"{job['url']}/results", headers={"Accept": "application/x-ndjson"}) as answer:
        for line in answer.iter_lines():
            lines += bool(line)
    assert lines == 120
    for folder, count in ("sent", 40), ("processed", 120):
        url, seen = f"/static/{job['id']}/{folder}/?limit=1000", 0
        while url:
            page = client.get(url, headers={"Accept": "application/json"}).json()
            seen, url = seen + len(page["files"]), page["next"]
        assert seen == count
    assert process.peak_bytes() - before < 40 * MiB, (process.peak_bytes() - before) / MiB
