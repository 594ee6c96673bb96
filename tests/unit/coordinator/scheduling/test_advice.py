"""What advice says: the step that holds things back, how many replicas more end that, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from penstock.coordinator.ports.scheduler import StepStatus
from penstock.coordinator.scheduling.advice import Advice, advise, say_secs
from penstock.coordinator.scheduling.replicas import Replicas


def step(name: str, workers: int, remaining: int, secs: float | None, busy: float | None = None, **more: Any) -> Any:
    backlog = None if secs is None else remaining * secs
    return StepStatus(name, workers, 0, 0, remaining, secs, backlog, busy, **more)


def deployed(**replicas: int) -> Mapping[str, Replicas]:
    return {name: Replicas(count, count, (f"penstock-{name}",)) for name, count in replicas.items()}


def ask(*steps: StepStatus, known: Mapping[str, Replicas] | None = None, goal: float = 300.0, **more: Any) -> Advice:
    found = advise(steps, (known or {}).get, goal, **more)
    assert found is not None
    return found


def test_the_slowest_step_is_named_with_what_would_change_it() -> None:
    known = deployed(resize=1, blur=4)
    advice = ask(step("resize", 1, 10_000, 0.01), step("blur", 4, 10_000, 0.3, 0.91), known=known)
    assert advice.sentence == "blur: 91 % busy, 3,000 s of work waiting; 6 more replicas finish it in 5 minutes"
    assert (advice.step, advice.replicas_now, advice.replicas_more) == ("blur", 4, 6)
    assert (advice.finishes_in_seconds, advice.next_step) == (300.0, None)
    assert advice.command == "kubectl scale deployment/penstock-blur --replicas=10"


def test_no_more_is_asked_for_than_brings_it_below_the_next_step() -> None:
    known = deployed(blur=1, encode=1)
    advice = ask(step("blur", 1, 1_000, 4.0, 1.0), step("encode", 1, 1_000, 1.0), known=known)
    assert (advice.replicas_more, advice.finishes_in_seconds) == (3, 1_000.0), "encode takes 1,000 s anyhow"
    advice = ask(step("blur", 1, 1_000, 4.5, 1.0), step("encode", 1, 1_000, 1.0), known=known)
    assert (advice.replicas_more, advice.finishes_in_seconds, advice.next_step) == (4, 900.0, "encode")
    assert advice.sentence.endswith("4 more replicas finish it in 15 minutes, and then encode holds things back")


def test_a_step_without_workers_comes_first_and_is_begun_with() -> None:
    advice = ask(step("resize", 2, 90, 5.0), step("blur", 0, 90, 10.0), known=deployed(resize=2, blur=0))
    assert advice.sentence == ("blur: no worker, 900 s of work waiting; 3 replicas finish it in 5 minutes")
    assert advice.command == "kubectl scale deployment/penstock-blur --replicas=3"


def test_what_was_never_measured_is_not_guessed() -> None:
    advice = ask(step("blur", 0, 40, None))
    assert advice.sentence == "blur: no worker, 40 images waiting; 1 worker begins it, and tells how long it takes"
    assert (advice.finishes_in_seconds, advice.command) == (None, "penstock worker --steps blur --concurrency 1")
    assert advise([step("blur", 3, 40, None)], lambda _: None, 300.0) is None, "it will soon be known"


def test_replicas_that_start_just_now_are_not_asked_for_again() -> None:
    known = {"blur": Replicas(10, 0, ("penstock-blur",))}
    advice = ask(step("blur", 0, 1_000, 1.0), known=known)
    assert (advice.replicas_now, advice.replicas_more, advice.command) == (10, 0, None)
    assert advice.sentence == (
        "blur: none of its 10 replicas is at work yet, 1,000 s of work waiting; its 10 replicas finish it in 2 minutes"
    )


def test_workers_that_share_steps_count_once_with_all_their_work() -> None:
    together = [
        step("resize", 4, 1_000, 0.4, 0.3, shared_with=("blur",)),
        step("blur", 4, 1_000, 1.0, 0.6, shared_with=("resize", "encode")),
        step("encode", 4, 1_000, 0.1, 0.1, shared_with=("blur",)),
    ]
    advice = ask(*together)
    assert (advice.step, advice.steps, advice.backlog_seconds) == ("blur", ["blur", "resize", "encode"], 1_500.0)
    assert advice.sentence == (
        "blur (with resize, encode in the same workers): 100 % busy, 1,500 s of work waiting;"
        " 1 more worker finishes it in 5 minutes"
    )
    assert advice.command == "penstock worker --steps blur,encode,resize --concurrency 1"


def test_steps_of_one_deployment_are_scaled_as_one() -> None:
    one = Replicas(2, 2, ("penstock-fused",))
    advice = ask(step("resize", 2, 600, 0.5), step("blur", 2, 600, 1.0), known={"resize": one, "blur": one})
    assert advice.command == "kubectl scale deployment/penstock-fused --replicas=3"


def test_the_command_names_the_namespace_where_it_is_known() -> None:
    advice = ask(step("blur", 1, 600, 1.0), known={"blur": Replicas(1, 1, ("penstock-blur",), "photos")})
    assert advice.command == "kubectl scale deployment/penstock-blur --replicas=2 --namespace=photos"


def test_steps_of_two_deployments_each_get_no_command_for_one() -> None:
    advice = ask(step("blur", 2, 6_000, 1.0), known={"blur": Replicas(2, 2, ("a", "b"))})
    assert advice.replicas_more == 18
    assert advice.command is None


def test_a_replica_of_several_workers_counts_for_all_of_them() -> None:
    known = {"blur": Replicas(2, 2, ("penstock-blur",))}
    advice = ask(step("blur", 8, 6_000, 1.0), known=known)
    assert (advice.replicas_now, advice.replicas_more, advice.finishes_in_seconds) == (2, 3, 300.0)


def test_there_are_never_more_replicas_than_images_for_them() -> None:
    assert ask(step("blur", 1, 3, 900.0)).replicas_more == 2


def test_work_that_is_done_in_time_anyhow_asks_for_nothing() -> None:
    advice = ask(step("blur", 4, 100, 1.2, 0.5))
    assert (advice.replicas_more, advice.command) == (0, None)
    assert advice.sentence == "blur: 50 % busy, 120 s of work waiting; its 4 workers finish it in 30 seconds"


def test_where_nobody_can_be_added_the_time_that_it_takes_is_told() -> None:
    advice = ask(step("blur", 2, 1_800, 1.0, 1.0), can_grow=False)
    assert (advice.replicas_more, advice.command, advice.finishes_in_seconds) == (0, None, 900.0)
    assert ask(step("blur", 0, 9, 1.0), can_grow=False).sentence.endswith("nobody can be added here")


def test_nothing_left_to_do_needs_no_advice() -> None:
    assert advise([step("blur", 2, 0, 0.1)], lambda _: None, 300.0) is None
    assert advise([], lambda _: None, 300.0) is None


@pytest.mark.parametrize(
    ("secs", "said"),
    [(0.0, "1 second"), (59.6, "60 seconds"), (300, "5 minutes"), (7_200, "2.0 hours"), (6e6, "1,666.7 hours")],
)
def test_times_are_told_as_people_say_them(secs: float, said: str) -> None:
    assert say_secs(secs) == said
