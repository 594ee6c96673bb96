"""Prediction: stages, overheads, deadlines, replicas and cost."""

from __future__ import annotations

from math import ceil

import pytest

from penstock.benchmark.plan.prediction import (
    FUSED,
    RESERVE,
    Cost,
    Overheads,
    PlanningError,
    Visit,
    cost_image,
    least_secs,
    meet_deadline,
    price,
    use_cores,
    use_replicas,
)
from penstock.common.model.messages import fit_chunk

VISITS = (Visit("resize", 0.005, 100), Visit("blur", 0.04, 100), Visit("encode", 0.001, 100))
NOTHING = Overheads(worker=0, coordinator=0, hop=0, hop_message=0, message=0, byte=0)


def bare(placement: str = "per_step", chunk: object = "auto", visits: tuple[Visit, ...] = VISITS) -> Cost:
    return cost_image(visits, placement, chunk, overheads=NOTHING)  # type: ignore[arg-type]


def test_each_step_is_a_stage_or_all_of_them_are_one() -> None:
    assert bare().stages == {"resize": 0.005, "blur": 0.04, "encode": 0.001}
    assert bare("fused").stages == {FUSED: pytest.approx(0.046)}
    assert bare().secs == pytest.approx(bare("fused").secs)


def test_a_repeated_step_has_one_stage_and_no_hop_to_itself() -> None:
    twice = (VISITS[1], VISITS[1], VISITS[0], VISITS[1])
    cost = bare(visits=twice)
    assert cost.stages == {"blur": pytest.approx(0.12), "resize": 0.005}
    assert cost.moved_bytes == 2 * 2 * 100 * 3, "two hops, written and read"


def test_a_hop_costs_what_was_measured() -> None:
    tiny = (Visit("a", 0.0, 0), Visit("b", 0.0, 0))
    around = Overheads(worker=0, coordinator=0)
    for chunk, ms in ((1, 0.87), (8, 0.23)):
        cost = cost_image(tiny, "per_step", chunk, overheads=around)
        assert sum(cost.stages.values()) * 1e3 == pytest.approx(ms, abs=0.005)
    assert sum(cost_image(tiny, "fused", 1, overheads=around).stages.values()) == 0


def test_intermediates_cost_time_by_their_size() -> None:
    large = (Visit("a", 0.0, 1_050_000), Visit("b", 0.0, 0))
    cost = cost_image(large, "per_step", 8)
    assert cost.moved_bytes == 6_300_000
    assert sum(cost.stages.values()) * 1e3 == pytest.approx(5.4 + 0.23 + 0.2, abs=0.1)


def test_larger_chunks_cost_less_and_increase_latency() -> None:
    quick = [Visit(visit.step, visit.secs / 10, visit.pixels) for visit in VISITS]
    one, auto, eight = (cost_image(quick, "per_step", chunk) for chunk in (1, "auto", 8))
    assert one.secs > eight.secs == auto.secs
    assert one.latency_secs < eight.latency_secs
    assert auto.latency_secs < eight.latency_secs, "a single image is not delayed"


@pytest.mark.parametrize(("slowest_secs", "size"), [(0.0, 8), (0.004, 8), (0.02, 3), (0.04, 1), (9.0, 1)])
def test_the_size_of_automatic_chunks_depends_on_the_slowest_step(slowest_secs: float, size: int) -> None:
    visits = (Visit("resize", 0.0, 100), Visit("blur", slowest_secs, 100))
    assert fit_chunk(slowest_secs) == size
    assert cost_image(visits, "per_step").secs == cost_image(visits, "per_step", size).secs


def test_without_a_broker_messages_cost_only_coordinator_time() -> None:
    alone = cost_image(VISITS, "fused", 1, broker=False)
    assert alone.broker == 0
    assert alone.coordinator == pytest.approx(0.000_7 + 3 * 0.000_5)
    assert alone.secs < cost_image(VISITS, "fused", 1).secs, "its own work is on top"


@pytest.mark.parametrize("deadline_secs", [1.0, 7.0, 60.0, 1_000.0])
@pytest.mark.parametrize("placement", ["per_step", "fused"])
def test_a_deadline_is_met_by_the_fewest_replicas(placement: str, deadline_secs: float) -> None:
    cost = bare(placement)
    found = meet_deadline(cost, 1_000, deadline_secs)
    assert found.secs <= deadline_secs * (1 - RESERVE)
    for stage, count in found.replicas.items():
        fewer = (ceil(1_000 / (count - 1)) - 1) * cost.stages[stage] if count > 1 else deadline_secs
        assert fewer + cost.latency_secs > deadline_secs * (1 - RESERVE), f"one {stage} less would be enough"


def test_each_stage_has_as_many_replicas_as_its_work_needs() -> None:
    found = meet_deadline(bare(), 50_000, 2_000.0)
    assert found.replicas == {"resize": 1, "blur": 2, "encode": 1}
    assert (found.slowest, found.busy("blur")) == ("blur", pytest.approx(1.0, abs=0.001))
    assert found.busy("encode") == pytest.approx(0.05, abs=0.001)
    assert found.cpu_secs == pytest.approx(50_000 * 0.046)


def test_a_deadline_that_cannot_be_met_is_refused_with_the_shortest_possible() -> None:
    with pytest.raises(PlanningError, match=r"10\.0 ms cannot be met: 5 images take 46\.0 ms at least"):
        meet_deadline(bare(), 5, 0.01)
    cost = cost_image(VISITS, "per_step")
    assert least_secs(cost, 10_000_000) > 10_000_000 * cost.coordinator, "one coordinator for them all"
    with pytest.raises(PlanningError):
        meet_deadline(cost, 10_000_000, 3_000.0)
    least = meet_deadline(bare(), 5, 0.046)
    assert (least.replicas, least.secs) == ({"resize": 5, "blur": 5, "encode": 5}, pytest.approx(0.046))


@pytest.mark.parametrize("images", [1, 5, 100_000])
def test_the_shortest_possible_deadline_can_be_met(images: int) -> None:
    cost = cost_image(VISITS, "per_step")
    least_secs_ever = least_secs(cost, images)
    assert meet_deadline(cost, images, least_secs_ever).secs <= least_secs_ever * (1 + 1e-9)


def test_replicas_are_divided_so_that_the_job_takes_the_least_time() -> None:
    assert use_replicas(bare(), 1_000, 10).replicas == {"resize": 1, "blur": 8, "encode": 1}
    assert use_replicas(bare("fused"), 1_000, 10).secs == pytest.approx(99 * 0.046 + 0.046)
    with pytest.raises(PlanningError, match="each needs one; accepted are 3 or more"):
        use_replicas(bare(), 1_000, 2)


def test_one_host_divides_the_work_among_its_cores() -> None:
    assert use_cores(bare("fused"), 1_000, 4, start_secs=0.5).secs == pytest.approx(0.5 + 1_000 * 0.046 / 4)
    assert use_cores(bare("fused"), 1, 64).secs == pytest.approx(0.046), "an image is on one core at a time"
    assert use_cores(bare("fused"), 3, 2).secs == pytest.approx(2 * 0.046), "two on one core, one on the other"


def test_a_job_costs_its_replicas_for_its_duration() -> None:
    found = use_replicas(bare(), 1_000, 10)
    assert price(found, 0.03) == pytest.approx(10 * found.secs / 3_600 * 0.03)
    with_gpus = price(found, 0.03, 1.2, ["blur"])
    assert with_gpus - price(found, 0.03) == pytest.approx(8 * found.secs / 3_600 * 1.2)
    together = use_replicas(bare("fused"), 1_000, 3)
    assert price(together, 0.0, 1.0, ["blur"]) == pytest.approx(3 * together.secs / 3_600), "each replica runs the step"
