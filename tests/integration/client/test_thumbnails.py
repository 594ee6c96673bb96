"""Thumbnails as workers make them: small, whatever the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from penstock.client import Client


def fetch(server: str, job: str, image: int, query: str) -> bytes:
    answer = httpx.get(f"{server}/v1/jobs/{job}/images/{image}/thumbnail?{query}", timeout=90)
    assert answer.status_code == 200, answer.text
    return answer.content


def read(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """An image that no format can compress."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), pixels)
    return path


def test_the_thumbnails_of_an_image_have_at_most_20_kb_whatever_it_shows(
    client: Client, server: str, noise: Path
) -> None:
    job = client.submit({"operations": [["split", True]], "output": "png"}, [noise])
    assert client.wait(job.id).state == "succeeded"
    source = fetch(server, job.id, 0, "of=source")
    assert read(source).shape == (249, 320, 3)
    assert 10_000 < len(source) <= 20_000
    parts = [fetch(server, job.id, 0, f"part={part}") for part in range(4)]
    assert [max(read(part).shape) for part in parts] == [160] * 4
    assert sum(map(len, parts)) <= 20_000


def test_a_thumbnail_shows_its_image(client: Client, server: str, drawn: list[Path]) -> None:
    job = client.submit({"operations": [["blur", "median"]], "output": "png"}, [drawn[0]])
    client.wait(job.id)
    [result] = client.results(job.id)
    whole = read(httpx.get(f"{server}{result.url}").content)
    small = read(fetch(server, job.id, 0, "part=0"))
    expected = cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(small, expected) > 30


def test_an_image_is_never_enlarged(client: Client, server: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "tiny.png"), np.full((2, 3, 3), 100, np.uint8))
    job = client.submit({"operations": [["blur", "median"]]}, [tmp_path / "tiny.png"])
    client.wait(job.id)
    assert read(fetch(server, job.id, 0, "of=source")).shape == (2, 3, 3)
