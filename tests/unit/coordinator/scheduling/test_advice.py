"""Advice: the bottleneck, how many more replicas help, and which step comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.common.model.rest import Advice
from penstock.coordinator.ports.scheduler import StepStatus
from penstock.coordinator.scheduling.advice import advise
from penstock.coordinator.scheduling.replicas import Replicas


def step(
    name: str, workers: int, remaining: int, secs: float | None, busy: float | None = None, **fields: Any
) -> StepStatus:
    backlog = None if secs is None else remaining * secs
    return StepStatus(name, workers, 0, 0, remaining, secs, backlog, busy, **fields)


def deployed(**replicas: int) -> Mapping[str, Replicas]:
    return {name: Replicas(count, count, (f"penstock-{name}",)) for name, count in replicas.items()}


def advice_for(
    *steps: StepStatus,
    replicas: Mapping[str, Replicas] | None = None,
    goal: float = 300.0,
    can_add_workers: bool = True,
) -> Advice:
    advice = advise(steps, (replicas or {}).get, goal, can_add_workers=can_add_workers)
    assert advice is not None
    return advice


def test_the_bottleneck_is_named_with_the_replicas_that_help() -> None:
    replicas = deployed(resize=1, blur=4)
    advice = advice_for(step("resize", 1, 10_000, 0.01), step("blur", 4, 10_000, 0.3, 0.91), replicas=replicas)
    assert advice.sentence == "blur: 91% busy, 3,000 s of work left, replicas 4 + 6, finished in 300 s"
    assert (advice.step, advice.replicas_now, advice.replicas_more) == ("blur", 4, 6)
    assert (advice.finishes_in_seconds, advice.next_step) == (300.0, None)
    assert advice.command == "kubectl scale deployment/penstock-blur --replicas=10"


def test_no_more_replicas_are_advised_than_make_another_step_the_bottleneck() -> None:
    replicas = deployed(blur=1, encode=1)
    advice = advice_for(step("blur", 1, 1_000, 4.0, 1.0), step("encode", 1, 1_000, 1.0), replicas=replicas)
    assert (advice.replicas_more, advice.finishes_in_seconds) == (3, 1_000.0), "encode takes 1,000 s anyway"
    advice = advice_for(step("blur", 1, 1_000, 4.5, 1.0), step("encode", 1, 1_000, 1.0), replicas=replicas)
    assert (advice.replicas_more, advice.finishes_in_seconds, advice.next_step) == (4, 900.0, "encode")
    assert advice.sentence.endswith("replicas 1 + 4, finished in 900 s, next bottleneck encode")


def test_a_step_without_workers_comes_first() -> None:
    replicas = deployed(resize=2, blur=0)
    advice = advice_for(step("resize", 2, 90, 5.0), step("blur", 0, 90, 10.0), replicas=replicas)
    assert advice.sentence == "blur: 900 s of work left, replicas 0 + 3, finished in 300 s"
    assert advice.command == "kubectl scale deployment/penstock-blur --replicas=3"


def test_unmeasured_work_is_not_guessed() -> None:
    advice = advice_for(step("blur", 0, 40, None))
    assert advice.sentence == "blur: 40 images left, replicas 0 + 1"
    assert (advice.finishes_in_seconds, advice.command) == (None, "penstock worker --steps blur --concurrency 1")
    assert advise([step("blur", 3, 40, None)], lambda _: None, 300.0) is None, "it will be measured soon"


def test_replicas_that_are_starting_are_not_advised_again() -> None:
    advice = advice_for(step("blur", 0, 1_000, 1.0), replicas={"blur": Replicas(10, 0, ("penstock-blur",))})
    assert (advice.replicas_now, advice.replicas_more, advice.command) == (10, 0, None)
    assert advice.sentence == "blur: 1,000 s of work left, replicas 10, finished in 100 s"


def test_workers_that_serve_several_steps_count_once_with_all_their_work() -> None:
    fused = [
        step("resize", 4, 1_000, 0.4, 0.3, shared_with=("blur",)),
        step("blur", 4, 1_000, 1.0, 0.6, shared_with=("resize", "encode")),
        step("encode", 4, 1_000, 0.1, 0.1, shared_with=("blur",)),
    ]
    advice = advice_for(*fused)
    assert (advice.step, advice.steps, advice.backlog_seconds) == ("blur", ["blur", "resize", "encode"], 1_500.0)
    assert advice.sentence == (
        "blur (with resize, encode): 100% busy, 1,500 s of work left, replicas 4 + 1, finished in 300 s"
    )
    assert advice.command == "penstock worker --steps blur,encode,resize --concurrency 1"


def test_steps_of_one_deployment_are_scaled_together() -> None:
    fused = Replicas(2, 2, ("penstock-fused",))
    steps = step("resize", 2, 600, 0.5), step("blur", 2, 600, 1.0)
    advice = advice_for(*steps, replicas={"resize": fused, "blur": fused})
    assert advice.command == "kubectl scale deployment/penstock-fused --replicas=3"


def test_the_command_has_the_namespace_if_it_is_known() -> None:
    replicas = {"blur": Replicas(1, 1, ("penstock-blur",), "photos")}
    advice = advice_for(step("blur", 1, 600, 1.0), replicas=replicas)
    assert advice.command == "kubectl scale deployment/penstock-blur --replicas=2 --namespace=photos"


def test_a_step_of_two_deployments_has_no_command() -> None:
    advice = advice_for(step("blur", 2, 6_000, 1.0), replicas={"blur": Replicas(2, 2, ("a", "b"))})
    assert (advice.replicas_more, advice.command) == (18, None)


def test_all_workers_of_a_replica_count() -> None:
    advice = advice_for(step("blur", 8, 6_000, 1.0), replicas={"blur": Replicas(2, 2, ("penstock-blur",))})
    assert (advice.replicas_now, advice.replicas_more, advice.finishes_in_seconds) == (2, 3, 300.0)


def test_no_more_replicas_are_advised_than_there_are_images() -> None:
    assert advice_for(step("blur", 1, 3, 900.0)).replicas_more == 2


def test_work_that_finishes_in_time_needs_no_replicas() -> None:
    advice = advice_for(step("blur", 4, 100, 1.2, 0.5))
    assert (advice.replicas_more, advice.command) == (0, None)
    assert advice.sentence == "blur: 50% busy, 120 s of work left, replicas 4, finished in 30 s"


def test_no_replicas_are_advised_where_workers_cannot_be_added() -> None:
    advice = advice_for(step("blur", 2, 1_800, 1.0, 1.0), can_add_workers=False)
    assert (advice.replicas_more, advice.command, advice.finishes_in_seconds) == (0, None, 900.0)
    advice = advice_for(step("blur", 0, 9, 1.0), can_add_workers=False)
    assert (advice.replicas_more, advice.finishes_in_seconds) == (0, None)


def test_there_is_no_advice_without_work() -> None:
    assert advise([step("blur", 2, 0, 0.1)], lambda _: None, 300.0) is None
    assert advise([], lambda _: None, 300.0) is None


def test_a_step_with_too_few_replicas_for_deadlines_comes_before_the_bottleneck() -> None:
    late = step("encode", 1, 100, 1.0, deadline_workers=4)
    slow = step("blur", 4, 1_000, 4.0, deadline_workers=2)
    advice = advice_for(late, slow, replicas=deployed(blur=4, encode=1))
    assert (advice.step, advice.replicas_more, advice.deadline_replicas) == ("encode", 3, 4)
    assert (
        advice.sentence
        == "encode: 100 s of work left, replicas 1 + 3, deadlines take 4, finished in 25 s, next bottleneck blur"
    )
    assert advice_for(late, slow, replicas=deployed(blur=4, encode=4)).step == "blur"
    assert advice_for(late, slow, can_add_workers=False).step == "blur"
