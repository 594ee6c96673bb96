"""`penstock plan`: reading options, comparing alternatives, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from scripts_loader import load_script

from penstock.benchmark.plan.estimate import (
    MAX_PICKED_IMAGES,
    Goal,
    Prices,
    answer,
    follow_pixels,
    pick_images,
)
from penstock.benchmark.plan.measure import Measured, share_out
from penstock.benchmark.plan.prediction import PlanningError, Visit
from penstock.benchmark.plan.report import describe_source, show, show_json
from penstock.cli.main import cli
from penstock.common.model.errors import PenstockError
from penstock.common.model.operations import Encode
from penstock.common.model.plan import make_plan
from penstock.common.settings import Limits

VISITS = (Visit("resize", 0.005, 262_144), Visit("blur", 0.04, 262_144), Visit("encode", 0.001, 262_144))
HOUR = Goal("deadline", 3_600.0)
Comparison = load_script("check_plan").Comparison


def test_pixels_after_each_operation_are_predicted() -> None:
    plan = make_plan(["split", ["resize", "10x20"], ["blur", "median"]], Encode(format="png"), Limits())
    assert follow_pixels(plan, 1024, 768) == [786_432, 800, 800, 800]
    plan = make_plan([["resize", "inside:512x512"], "split", ["resize", "50%"]], None, Limits())
    assert follow_pixels(plan, 1024, 768) == [512 * 384, 512 * 384, 4 * 128 * 96, 4 * 128 * 96]
    plan = make_plan([["crop", "100x50"], ["tile", "64,overlap=4"], ["rotate", 90], ["resize", "50%"]], None, Limits())
    tiles = (64 + 40) * 50
    assert follow_pixels(plan, 1024, 768) == [5_000, tiles, tiles, (32 + 20) * 25, (32 + 20) * 25]
    plan = make_plan([["crop", "100x50+2000+0"], ["blur", "median"]], None, Limits())
    assert follow_pixels(plan, 1024, 768) == [1024 * 768] * 3, "no image is known to which the crop applies"


def test_the_requested_way_comes_first_and_alternatives_follow() -> None:
    rows = answer(VISITS, 500_000, HOUR, "per_step")
    assert [(row.placement, row.chunk, row.goal.value) for row in rows] == [
        ("per_step", "auto", 3_600),
        ("per_step", "auto", 1_800),
        ("per_step", "auto", 7_200),
        ("per_step", 1, 3_600),
        ("per_step", 8, 3_600),
        ("fused", "auto", 3_600),
        ("fused", 1, 3_600),
        ("fused", 8, 3_600),
    ]
    blurs = [row.estimate.replicas["blur"] for row in rows[:3] if row.estimate]
    assert blurs[1] > blurs[0] > blurs[2]


def test_impossible_alternatives_are_shown_and_an_impossible_request_is_refused() -> None:
    rows = answer(VISITS, 10, Goal("replicas", 3), "per_step")
    assert [row.estimate is None for row in rows] == [False, True, *[False] * 6], "half of three is too few for three"
    assert "not possible" in show(VISITS, "", rows, Prices(cpu=1.0))
    with pytest.raises(PlanningError):
        answer(VISITS, 10, Goal("deadline", 0.001), "fused")


def test_the_answer_names_replicas_bottleneck_and_price() -> None:
    shown = show(VISITS, "Measured.", answer(VISITS, 500_000, HOUR, "per_step"), Prices(cpu=0.03, currency="EUR"))
    first = shown.split("\n")[0]
    assert first.startswith("500,000 images take ")
    assert "1 × resize, 7 × blur, 1 × encode; blur is the bottleneck. They use " in first
    assert first.endswith(" EUR.")
    assert "| fused " in shown
    assert "cost EUR" in shown


def test_fused_workers_have_no_bottleneck() -> None:
    shown = show(VISITS, "", answer(VISITS, 500_000, HOUR, "fused"), Prices(cpu=0.000_001))
    assert " with 8 × all steps. They use " in shown.split("\n")[0]
    assert shown.split("\n")[0].endswith(" and cost < 0.01.")


def test_the_answer_for_one_host_names_its_cores() -> None:
    shown = show(VISITS, "", answer(VISITS, 1_000, Goal("cores", 4), "fused"), Prices())
    assert " on 4 cores of one host" in shown.split("\n")[0]
    assert "cost" not in shown


def test_the_json_contains_every_way() -> None:
    document = json.loads(show_json(VISITS, None, answer(VISITS, 1_000, HOUR, "fused"), Prices(cpu=0.5)))
    assert [step["step"] for step in document["steps"]] == ["resize", "blur", "encode"]
    assert document["ways"][0] | {"possible": True, "deadline": 3600.0, "placement": "fused"} == document["ways"][0]
    assert document["ways"][0]["cost"] > 0


def test_the_report_warns_if_other_programs_used_the_cores() -> None:
    assert "left" not in describe_source(Measured(VISITS, 9, 3, 2, 1.0, 0.99))
    assert "left 40% of the cores" in describe_source(Measured(VISITS, 9, 3, 2, 1.0, 0.4))


def test_a_large_folder_is_sampled_evenly(tmp_path: Path) -> None:
    for index in range(100):
        (tmp_path / f"{index:03d}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    picked = pick_images(tmp_path)
    assert 0 < len(picked) <= MAX_PICKED_IMAGES
    assert picked[-1].stem > "090"
    with pytest.raises(PenstockError, match="no JPEG or PNG below"):
        pick_images(tmp_path / "nowhere")


def test_a_prediction_is_judged_by_its_median_round() -> None:
    found = Comparison("p", "run", 9, predicted=[1.0, 2.0, 1.0], measured=[1.1, 2.2, 9.0], shares=[1.0] * 3)
    assert (found.ratio, found.is_close) == (1.1, True)
    assert not Comparison("p", "run", 9, predicted=[1.0], measured=[1.3], shares=[1.0]).is_close


def test_the_load_of_other_programs_does_not_count_against_a_prediction() -> None:
    assert Comparison("p", "run", 9, predicted=[1.0, 1.0], measured=[4.0, 2.0], shares=[0.25, 0.5]).ratio == 1.0


@pytest.mark.parametrize(("photos", "processes"), [(32, 2), (48, 16), (3, 8), (1, 1), (7, 3)])
def test_all_images_are_measured_with_any_number_of_processes(photos: int, processes: int) -> None:
    shares = share_out(photos, processes)
    assert [photo for share in shares for photo in share] == list(range(photos))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(0 <= share.start < photos for share in shares)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "--images N"),
        ("--images 9 --deadline soon", "--deadline: 'soon' is not a time"),
        ("--images 9 --deadline 2h --cores 2", "exclude each other"),
        ("--images 9 --size big", "--size big: not a size; accepted is WIDTHxHEIGHT"),
        ("--images 9 --op sharpen", "no operation 'sharpen'"),
        ("--images 9 --gpu blur", "--gpu blur: not a step of this plan; accepted are encode"),
        ("--images 9 --server http://x --photos .", "both give times per image"),
        ("--images 0", "0 is not in the range"),
        (f"--images 1{'0' * 400}", "is not in the range"),
        ("--images 9 --replicas 1000000000", "is not in the range"),
        (
            "--images 9 --size 30000x30000",
            "--size 30000x30000: 900000000 pixels; accepted are up to 150000000",
        ),
        ("--images 9 --cpu-price nan", "nan is not a finite number"),
        ("--images 9 --currency EUR", "a cost needs --cpu-price"),
        ("--images 9 --gpu-price 2", "a cost needs --cpu-price"),
        ("--images 9 --gpu-price 2 --cpu-price 1", "--gpu STEP and --gpu-price need each other"),
        (
            "--images 9 --op blur=median --gpu blur --cpu-price 1 --server http://x",
            "--gpu STEP and --gpu-price need each other",
        ),
        ("--images 9 --op blur=median --gpu blur --gpu-price 2 --cpu-price 1", "without a GPU; use --server URL"),
    ],
)
def test_invalid_options_are_refused_before_measuring(options: str, message: str) -> None:
    with pytest.raises((click.UsageError, PenstockError), match=message):
        cli.main(["plan", "--output", "png", *options.split()], standalone_mode=False)
