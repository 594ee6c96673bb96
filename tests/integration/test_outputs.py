"""Jobs with several outputs, in `penstock run` and on a server: named, counted, failed and retried one by one."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.local.sample_images import write_images

OUTPUTS = [
    {"name": "thumb", "operations": [["resize", "32x"]], "output": "webp"},
    {"name": "tiles", "operations": [["split", True], ["blur", "median"]]},
    {"name": "whole"},
]
DOCUMENT = {"operations": [["resize", "150x101"]], "outputs": OUTPUTS}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder, 4, 320, 240)
    write_images(folder / "sub", 1, 320, 240)
    (folder / "bad.jpg").write_bytes((folder / "photo-0000.jpg").read_bytes()[:2000])
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.ndjson")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(penstock: Callable[..., Any], photos: Path, document: dict[str, Any], out: Path) -> dict[str, Any]:
    job = out.with_suffix(".json")
    job.write_text(json.dumps(document))
    ended = penstock("run", photos, "--job", job, "--out", out, "--json")
    assert ended.returncode == 1, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def expected(photos: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The results of three runs, one for each output."""
    folder, found = tmp_path_factory.mktemp("alone"), {}
    for output in OUTPUTS:
        operations = [*DOCUMENT["operations"], *output.get("operations", [])]
        document = {"operations": operations, "output": output.get("output", "jpg")}
        job, out = folder / "job.json", folder / str(output["name"])
        job.write_text(json.dumps(document))
        command = [sys.executable, "-m", "penstock", "run", str(photos), "--job", str(job), "--out", str(out)]
        assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 1
        found |= {f"{output['name']}/{name}": digest for name, digest in digests(out).items()}
    return found


def test_a_run_makes_what_a_run_for_each_output_makes(
    penstock: Callable[..., Any], photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = run(penstock, photos, DOCUMENT, out)
    assert (summary["done"], summary["failed"]) == (15, 3)
    assert {failure["image"] for failure in summary["failures"]} == {
        f"{name}/bad.jpg" for name in ("thumb", "tiles", "whole")
    }
    assert digests(out) == expected
    assert {"thumb/photo-0000.webp", "tiles/sub/photo-0000-3.jpg", "whole/sub/photo-0000.jpg"} <= expected.keys()


def test_a_second_run_makes_the_outputs_that_are_missing(
    penstock: Callable[..., Any], photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(penstock, photos, DOCUMENT, out)
    (out / "thumb" / "photo-0001.webp").unlink()
    (out / "tiles" / "photo-0002-3.jpg").write_bytes(b"another")
    kept = (out / "whole" / "photo-0001.jpg").stat().st_mtime_ns
    again = run(penstock, photos, DOCUMENT, out)
    assert (again["done"], again["failed"], again["skipped"]) == (2, 3, 13)
    assert digests(out) == expected
    assert (out / "whole" / "photo-0001.jpg").stat().st_mtime_ns == kept


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_a_server_makes_the_same_and_counts_each_output(
    start_server: Callable[..., Any], photos: Path, expected: dict[str, str], placement: str
) -> None:
    server = start_server("--placement", placement, "--workers", "2", input_root=photos)
    document = {**DOCUMENT, "inputs": [{"prefix": str(photos)}], "chunk_size": 3}
    estimate = server.call("POST", "/v1/jobs?dry_run=true", document)
    assert (estimate["images"], estimate["results_per_image"], estimate["results"]) == (18, 6, 36)
    assert [output["name"] for output in estimate["outputs"]] == ["thumb", "tiles", "whole"]
    job = server.client.post_job(document)["id"]
    ended = server.client.wait(job, poll_secs=0.02)
    assert ended["state"] == "partial"
    assert (ended["images"]["done"], ended["images"]["failed"]) == (15, 3)
    assert [operation["op"] for operation in ended["operations"]] == ["resize"]
    assert [(output["name"], output["done"]) for output in ended["outputs"]] == [
        ("thumb", 5), ("tiles", 5), ("whole", 5),
    ]  # fmt: skip
    steps = [(step["output"], step["step"], step["done"], step["failed"]) for step in ended["steps"]]
    assert steps == [
        (None, "resize", 15, 3),
        ("thumb", "resize", 5, 0), ("thumb", "encode", 5, 0),
        ("tiles", "split", 5, 0), ("tiles", "blur", 5, 0), ("tiles", "encode", 5, 0),
        ("whole", "encode", 5, 0),
    ]  # fmt: skip
    assert server.manifest(job) == expected
    archive = zipfile.ZipFile(io.BytesIO(server.client.send("GET", f"/v1/jobs/{job}/results.zip")))
    assert set(archive.namelist()) >= expected.keys()
    assert set(server.failures(job)) == {"thumb/bad.jpg", "tiles/bad.jpg", "whole/bad.jpg"}


@pytest.mark.parametrize("placement", ["fused", "per_step"])
def test_an_output_fails_and_is_retried_on_its_own(
    start_server: Callable[..., Any], tmp_path: Path, placement: str
) -> None:
    """The step `trip` raises on green images, and kills its worker on red ones."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name, colour in ("green.png", (0, 255, 0)), ("red.png", (0, 0, 255)):
        cv2.imwrite(str(folder / name), np.full((30, 40, 3), colour, np.uint8))
    server = start_server("--placement", placement, "--workers", "1", input_root=folder)
    outputs = [{"name": "tripping", "operations": [["trip"]]}, {"name": "whole"}]
    job = server.client.post_job({"outputs": outputs, "inputs": [{"prefix": str(folder)}]})["id"]
    assert server.client.wait(job, poll_secs=0.02)["state"] == "partial"
    failed = {"tripping/green.png": "internal", "tripping/red.png": "step_crashed"}
    assert server.failures(job) == failed
    assert sorted(server.manifest(job)) == ["whole/green.jpg", "whole/red.jpg"]
    images = server.call("GET", f"/v1/jobs/{job}/images")["images"]
    green = next(image["id"] for image in images if image["name"] == "tripping/green.png")
    retried = server.call("POST", f"/v1/jobs/{job}/retry", {"images": [green]})
    assert (retried["retried"], retried["images"]["done"], retried["run"]) == (1, 2, 1)
    ended = server.client.wait(job, poll_secs=0.02)
    assert (ended["images"]["done"], ended["images"]["failed"]) == (2, 2)
    assert server.failures(job) == failed


def test_another_job_runs_on_the_sources_of_one_with_several_outputs(
    start_server: Callable[..., Any], photos: Path
) -> None:
    server = start_server("--workers", "1", input_root=photos)
    first = server.client.post_job({**DOCUMENT, "inputs": [{"prefix": str(photos / "sub")}]})["id"]
    server.client.wait(first, poll_secs=0.02)
    second = server.client.post_job({"operations": [["split", True]], "inputs": [{"job": first}]})["id"]
    assert server.client.wait(second, poll_secs=0.02)["images"]["done"] == 1
    assert sorted(server.manifest(second)) == [f"photo-0000-{part}.jpg" for part in range(4)]
