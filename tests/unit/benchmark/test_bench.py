"""Benchmark: workloads, plain pool, verifier and report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from penstock.benchmark.bench.contestants import OTHER_PROGRAMS, BenchError, Verifier, Workspace
from penstock.benchmark.bench.other_programs import can_run, other_programs
from penstock.benchmark.bench.report import Figures, percentile, show_json, show_tables
from penstock.benchmark.bench.runner import run_bench
from penstock.benchmark.bench.workloads import WORKLOADS, ImageFolders, Workload
from penstock.common.model.errors import PenstockError
from penstock.common.model.plan import make_plan
from penstock.common.settings import Limits
from penstock.local.sample_images import draw_image


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_workload_is_a_valid_plan(workload: Workload) -> None:
    plan = make_plan(workload.document()["operations"], None, Limits())
    assert plan.steps == (*(name for name, _ in workload.operations), "encode")


def test_a_workload_has_a_title_and_command_line_options() -> None:
    assert WORKLOADS[0].title == "512² resize 200x300 + split + blur gaussian → jpg"
    assert WORKLOADS[-1].title == "3264×2448 resize 512x384 → jpg, decoded scaled"
    assert WORKLOADS[0].options() == ["--op=resize=200x300", "--op=split", "--op=blur=gaussian"]


def test_a_folder_holds_as_many_images_as_requested_all_of_the_workloads_size(tmp_path: Path) -> None:
    workload = Workload("small", (40, 30), (), "jpg", 1)
    folder = ImageFolders(tmp_path).folder(workload, 30)
    shapes = {cv2.imread(str(path)).shape for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 30
    assert shapes == {(30, 40, 3)}


def test_given_images_are_scaled_to_the_workloads_size_and_other_files_ignored(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "one.png"), draw_image(1, 90, 60))
    (photos / "notes.txt").write_text("not an image")
    (tmp_path / "images").mkdir()
    distinct = ImageFolders(tmp_path / "images", photos).distinct((32, 24))
    assert [(path.name, cv2.imread(str(path)).shape) for path in distinct] == [("one.jpg", (24, 32, 3))]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="no readable JPEG or PNG"):
        ImageFolders(tmp_path, tmp_path).distinct((32, 24))


def test_the_plain_pool_gives_the_pixels_of_opencv(tmp_path: Path, drawn: list[Path]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    options = ["--op=resize=101x75", "--op=split", "--op=blur=median"]
    command = [
        sys.executable,
        "-m",
        "penstock.benchmark.bench.plain_pool",
        str(drawn[0].parent),
        str(out),
        "jpg",
        *options,
    ]
    subprocess.run(command, check=True)
    image = cv2.resize(cv2.imread(str(drawn[0])), (101, 75), interpolation=cv2.INTER_AREA)
    right_bottom = cv2.medianBlur(np.ascontiguousarray(image[37:, 50:]), 5)
    assert len(list(out.iterdir())) == 4 * len(drawn)
    assert (out / "photo-0000-3.jpg").read_bytes() == cv2.imencode(".jpg", right_bottom)[1].tobytes()


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "reference"
    folder.mkdir()
    cv2.imwrite(str(folder / "a-0.jpg"), draw_image(1, 64, 48))
    cv2.imwrite(str(folder / "b-0.png"), draw_image(2, 64, 48))
    return folder


def read_all(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((path.name, path.read_bytes()) for path in folder.iterdir())


def test_another_png_file_with_the_same_pixels_is_accepted(reference: Path) -> None:
    other = cv2.imencode(".png", draw_image(2, 64, 48), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    results = dict(read_all(reference)) | {"b-0.png": other}
    assert other != (reference / "b-0.png").read_bytes()
    Verifier().verify("run", reference, results.items())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a-0.jpg", cv2.imencode(".jpg", draw_image(1, 64, 48), [cv2.IMWRITE_JPEG_QUALITY, 94])[1].tobytes()),
        ("b-0.png", cv2.imencode(".png", draw_image(3, 64, 48))[1].tobytes()),
        ("b-0.png", b"not an image"),
    ],
)
def test_a_result_that_differs_from_the_pools_is_an_error(reference: Path, name: str, content: bytes) -> None:
    results = dict(read_all(reference)) | {name: content}
    with pytest.raises(BenchError, match=f"{name} of run differs from the pool's"):
        Verifier().verify("run", reference, results.items())


def test_missing_and_additional_results_are_errors(reference: Path) -> None:
    results = dict(read_all(reference))
    with pytest.raises(BenchError, match=r"did not make b-0\.png"):
        Verifier().verify("run", reference, [("a-0.jpg", results["a-0.jpg"])])
    with pytest.raises(BenchError, match=r"c-0\.jpg, which the pool did not"):
        Verifier().verify("run", reference, [*results.items(), ("c-0.jpg", b"")])
    with pytest.raises(BenchError, match="made it twice"):
        Verifier().verify("run", reference, [*results.items(), ("a-0.jpg", results["a-0.jpg"])])


def test_results_of_the_same_size_are_enough_where_pixels_may_differ(reference: Path) -> None:
    other = dict(read_all(reference)) | {"a-0.jpg": cv2.imencode(".jpg", draw_image(5, 64, 48))[1].tobytes()}
    Verifier().verify("sharp", reference, other.items(), pixels=False)
    larger = other | {"a-0.jpg": cv2.imencode(".jpg", draw_image(5, 65, 48))[1].tobytes()}
    with pytest.raises(BenchError, match=r"a-0\.jpg of sharp differs from the pool's"):
        Verifier().verify("sharp", reference, larger.items(), pixels=False)


@pytest.mark.parametrize("name", OTHER_PROGRAMS)
def test_another_program_makes_the_files_of_the_pool(name: str, tmp_path: Path, drawn: list[Path]) -> None:
    if name not in other_programs():
        pytest.skip(f"{name} is not installed")
    workload = Workload("reduce", (64, 64), (("resize", "33x25"),), "jpg", len(drawn))
    with OTHER_PROGRAMS[name](Workspace(tmp_path, tmp_path)) as contestant:
        (tmp_path / "out").mkdir()
        done = dict(contestant(workload, drawn[0].parent, tmp_path / "out").results)
    assert sorted(done) == [f"{path.stem}.jpg" for path in sorted(drawn)]
    assert {cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR).shape for each in done.values()} == {
        (25, 33, 3)
    }


def test_other_programs_only_take_part_in_workloads_of_one_resize() -> None:
    able = [workload.name for workload in WORKLOADS if can_run(workload)]
    assert able == ["reduce-8mpx-jpg", "reduce-8mpx-scaled-jpg"]


def make_figures() -> Figures:
    return Figures(WORKLOADS[1], 100, "pool", {"pool": [4.0, 5.0, 90.0], "run": [2.0, 2.5, 2.6]})


def test_rates_and_ratios_are_those_of_the_median_round() -> None:
    assert make_figures().rate("pool") == 20.0
    assert make_figures().ratio("run") == 2.0


def test_the_table_shows_each_contestant_beside_the_pool() -> None:
    table = show_tables([make_figures()], [0.030, 0.010, 0.020], {"1": 0.0011, "8": 0.00021}, [0.012, 0.008])
    row = next(line for line in table.splitlines() if "blur median" in line)
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["100", "20.0", "40.0 (2.00×)"]
    assert "p50 20.0 ms" in table
    assert "by one request (/v1/process): p50 8.0 ms" in table
    assert "1.100 ms at chunk 1, 0.210 ms at chunk 8" in table


def test_a_contestant_that_did_not_take_part_has_an_empty_cell() -> None:
    other = Figures(WORKLOADS[4], 100, "pool", {"pool": [4.0], "sharp": [2.0]})
    rows = [line for line in show_tables([make_figures(), other], [], {}).splitlines() if "resize" in line]
    assert [[cell.strip() for cell in row.split("|")[3:6]] for row in rows] == [
        ["20.0", "40.0 (2.00×)", "–"],
        ["25.0", "–", "50.0 (2.00×)"],
    ]


def test_the_json_contains_every_round_and_the_latency() -> None:
    document = json.loads(show_json([make_figures()], [0.010], {"8": 0.00021}))
    assert document["workloads"][0]["contestants"]["run"] == {
        "seconds": [2.0, 2.5, 2.6],
        "images_per_second": 40.0,
        "ratio": 2.0,
    }
    assert document["latency"]["p50_ms"] == 10.0
    assert document["hop_cpu_ms"] == {"8": 0.21}


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (1, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 99) == 7.0


def test_an_unknown_workload_or_contestant_is_refused() -> None:
    with pytest.raises(PenstockError, match="no workload 'nonsense'; accepted are resize-split-gaussian-jpg"):
        run_bench(workloads=["nonsense"])
    with pytest.raises(PenstockError, match="no contestant 'nobody'; accepted are pool, run, serve-fused"):
        run_bench(contestants=["nobody"])
