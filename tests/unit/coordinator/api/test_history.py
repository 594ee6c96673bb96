"""Step history: an hour of points, bounded, with gaps where nothing could be measured."""

from __future__ import annotations

import asyncio

import pytest

from penstock.common.model.errors import UnavailableError
from penstock.coordinator.api.monitoring.history import StepHistory
from penstock.coordinator.api.monitoring.single_flight import SingleFlight
from penstock.coordinator.ports.scheduler import StepStatus


def status(name: str, **changes: float) -> StepStatus:
    return StepStatus(name, workers=2, ready=0, in_flight=0, remaining=0, **changes)


def make_history(read=list) -> StepHistory:
    return StepHistory(SingleFlight(read), lambda step: step.workers + 1, 5.0)


def test_every_point_has_the_load_of_every_step() -> None:
    history = make_history()
    history.add([status("blur")])
    history.add([status("blur", utilisation=0.51234, backlog_seconds=1234.5, images_per_second=7.0), status("encode")])
    blur, encode = history.view(0.0).steps
    assert (blur.name, blur.utilisation, blur.backlog_seconds) == ("blur", [None, 0.512], [None, 1230.0])
    assert (blur.images_per_second, blur.replicas) == ([None, 7.0], [3, 3])
    assert (encode.name, encode.replicas) == ("encode", [None, 3])


def test_the_history_is_bounded() -> None:
    history = make_history()
    for utilisation in range(1_000):
        history.add([status("blur", utilisation=float(utilisation))])
    [blur] = history.view(0.0).steps
    assert len(blur.utilisation) == 360
    assert blur.utilisation[-1] == 999


@pytest.mark.parametrize("error", [UnavailableError("broker", "away"), RuntimeError("odd")])
def test_a_point_without_an_answer_is_a_gap(error: Exception) -> None:
    answers = iter([[status("blur", utilisation=0.5)], error, [status("blur", utilisation=0.25)]])

    def read() -> list[StepStatus]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    history = make_history(read)

    async def add_all() -> None:
        for _ in range(3):
            await history.add_now()

    asyncio.run(add_all())
    [blur] = history.view(0.0).steps
    assert blur.utilisation == [0.5, None, 0.25]
