"""A short sweep: the points that every image passes, and a few faults. `make ledger` does all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from faults import FAULTS, Fault
from faulty import Crash
from points import POINTS
from rabbitmq_server import RabbitServer
from servers import Ground, Servers
from sweep import Case, Sweep

GROUND = Ground()
ALWAYS = (
    "upload stored",
    "row written",
    "cursor moved",
    "published",
    "confirmed",
    "delivered",
    "blob written",
    "next published",
    "outcome published",
    "acked",
    "event taken",
    "transaction committed",
    "event acked",
)
TOLD = ("row written", "cursor moved", "published", "blob written", "transaction committed")
STRIKES = [*(Crash(point, 2) for point in ALWAYS), *(Crash(point, 1, "lost") for point in TOLD)]
DISTURBED = ("queues deleted", "a worker stands still")


@pytest.fixture(scope="module")
def sweep(rabbitmq: RabbitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with ExitStack() as stack:
        servers = Servers(tmp_path_factory.mktemp("ledger"), stack, {GROUND.rabbitmq: rabbitmq})
        yield Sweep(servers, pause_secs=8.0, keep=True)


@pytest.mark.parametrize("need", ["", "purge", "death"])
def test_every_point_is_reached_where_it_can_be(sweep: Sweep, need: str) -> None:
    reached = {point for counts in sweep.count_points(GROUND, need).values() for point in counts}
    wanted = {point.name for point in POINTS if point.needs == need}
    assert wanted <= reached


@pytest.mark.parametrize("crash", STRIKES, ids=Crash.write)
def test_nothing_is_lost_doubled_or_left_whatever_happens_at_a_point(sweep: Sweep, crash: Crash) -> None:
    assert sweep.strike(Case("point", GROUND, crash)) == {}
    assert sweep.rows.pop("point").struck == 1


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in DISTURBED], ids=lambda fault: fault.name)
def test_nothing_is_lost_doubled_or_left_by_a_fault(sweep: Sweep, fault: Fault) -> None:
    assert sweep.disturb(Case("fault", GROUND, fault=fault)) == {}
