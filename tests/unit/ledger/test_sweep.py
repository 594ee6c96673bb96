"""A short sweep: the points that every image passes, and some other faults. `make ledger` does all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fault_injection import Injection
from faults import FAULTS, Fault
from points import POINTS
from rabbitmq_server import RabbitServer
from servers import Backends, Servers
from sweep import Case, Sweep

DEFAULT = Backends()
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
    "first output sent",
    "output's marker put",
    "shared input dropped",
    "event taken",
    "transaction committed",
    "event acked",
)
TIMEOUTS = ("row written", "cursor moved", "published", "blob written", "transaction committed")
INJECTIONS = [*(Injection(point, 2) for point in ALWAYS), *(Injection(point, 1, "lost") for point in TIMEOUTS)]
CHOSEN_FAULTS = (
    "queues deleted",
    "a worker paused",
    "store full",
    "database locked",
    "RabbitMQ blocks publishers",
)


@pytest.fixture(scope="module")
def sweep(rabbitmq: RabbitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with ExitStack() as stack:
        servers = Servers(tmp_path_factory.mktemp("ledger"), stack, {DEFAULT.rabbitmq: rabbitmq})
        yield Sweep(servers, pause_secs=8.0, keep=True)


@pytest.mark.parametrize("need", ["", "purge", "death"])
def test_every_point_is_reached(sweep: Sweep, need: str) -> None:
    reached = {point for counts in sweep.count_points(DEFAULT, need).values() for point in counts}
    expected = {point.name for point in POINTS if point.needs == need}
    assert expected <= reached


@pytest.mark.parametrize("injection", INJECTIONS, ids=Injection.write)
def test_nothing_is_lost_doubled_or_left_by_a_fault_at_a_point(sweep: Sweep, injection: Injection) -> None:
    assert sweep.run_injection(Case("point", DEFAULT, injection)) == {}
    assert sweep.rows.pop("point").injected == 1


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.name in CHOSEN_FAULTS], ids=lambda fault: fault.name
)
def test_nothing_is_lost_doubled_or_left_by_another_fault(sweep: Sweep, fault: Fault) -> None:
    if "mount" in fault.needs and os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    assert sweep.run_fault(Case("fault", DEFAULT, fault=fault)) == {}
