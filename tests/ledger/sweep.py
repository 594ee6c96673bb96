"""`make ledger`: injects a fault at every point, causes every other fault, and writes a table of the findings."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import faults
import workload
from audit import FinalState, audit
from client import Client
from driver import Plan, Run
from fault_injection import Injection
from faults import FAULTS, SPLIT_STEPS, TWO_WORKERS, WORKER_PER_STEP, Fault, FaultContext
from points import BY_NAME, POINTS, Placement, Point
from report import write_page
from servers import Backends, MissingServerError, Servers, open_servers
from system import System, remove_deployment
from workload import Expected, JobSpec

BACKENDS = (
    Backends(),
    Backends(database="postgresql", store="s3"),
    Backends(rabbitmq="4", database="postgresql"),
)
"""The first one gets each fault several times, the others once."""
TIMES = (1, 2, 7)
PLACEMENTS: dict[Placement, Sequence[str]] = {"mixed": SPLIT_STEPS, "per step": WORKER_PER_STEP, "fused": TWO_WORKERS}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
COLUMNS = {
    "lost": "lost",
    "unexpected": "doubled",
    "doubled": "doubled",
    "wrong bytes": "wrong",
    "wrong outcome": "wrong",
    "miscounted": "wrong",
    "unresolved": "stuck",
    "left over": "stuck",
}


@dataclass
class Row:
    """The sums of all runs of one point and kind, or of one fault."""

    name: str
    runs: int = 0
    injected: int = 0
    restarts: int = 0
    redelivered: int = 0
    found: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Case:
    """One run to do."""

    row: str
    backends: Backends
    injection: Injection | None = None
    fault: Fault | None = None
    placement: Placement = "mixed"


class Sweep:
    """Does runs and counts their findings."""

    def __init__(self, servers: Servers, *, pause_secs: float = 60.0, keep: bool = False) -> None:
        self._servers = servers
        self._pause_secs = pause_secs
        self._keep = keep
        self._inputs = servers.folder / "inputs"
        self._specs: dict[str, list[JobSpec]] = {}
        self._expected: dict[str, Expected] = {}
        self._counts: dict[tuple[Backends, str, Placement], dict[str, Counter[str]]] = {}
        self.rows: dict[str, Row] = {}

    def check(self, backends: Backends) -> None:
        """Start the servers of a kind of run, unless they run already; raises MissingServerError."""
        self._clear(self._make_system(backends, ()))

    def count_points(
        self, backends: Backends, need: str = "", placement: Placement = "mixed"
    ) -> dict[str, Counter[str]]:
        """Return how often each process reaches each point without a fault, or with the one that `need` names."""
        key = backends, need if need in ("purge", "death") else "", placement
        if key not in self._counts:
            system = self._make_system(backends, TWO_WORKERS if key[1] else PLACEMENTS[placement])
            self._run_and_audit(system, _fault_for(key[1]), f"no fault {key[1]}".strip())
            self._counts[key] = {name: Counter(lines) for name, lines in system.reached_points().items()}
            self._clear(system)
        return self._counts[key]

    def run_injection(self, case: Case) -> dict[str, list[str]]:
        """Do a run with a fault at a point; return the findings."""
        assert case.injection is not None
        need = BY_NAME[case.injection.point].needs
        counts = self.count_points(case.backends, need, case.placement)
        target = max(counts, key=lambda name: counts[name][case.injection.point if case.injection else ""])
        placement = TWO_WORKERS if need in ("purge", "death") else PLACEMENTS[case.placement]
        settings = {"PENSTOCK_MAX_ATTEMPTS": "9"} if need == "death" else {}
        system = self._make_system(case.backends, placement, injection=case.injection, target=target, settings=settings)
        return self._count(case, system, _fault_for(need))

    def run_fault(self, case: Case) -> dict[str, list[str]]:
        """Do a run with another fault; return the findings."""
        fault = case.fault
        assert fault is not None
        system = self._make_system(
            case.backends, fault.placement, disk=fault.disk, coordinators=fault.coordinators, settings=fault.settings
        )
        return self._count(case, system, fault)

    def _count(self, case: Case, system: System, fault: Fault) -> dict[str, list[str]]:
        found = self._run_and_audit(system, fault, str(case))
        row = self.rows.setdefault(case.row, Row(case.row))
        row.runs += 1
        row.injected += system.was_injected or case.injection is None
        row.restarts += system.restarts
        row.redelivered += system.redelivered
        row.found.update({COLUMNS[check]: len(findings) for check, findings in found.items()})
        if not (found and self._keep):
            self._clear(system)
        return found

    def _run_and_audit(self, system: System, fault: Fault, what: str) -> dict[str, list[str]]:
        plan = self._plan(system, fault)
        system.start()
        try:
            final: FinalState = Run(system, plan).execute()
        finally:
            system.kill_all()
        found = audit(final)
        if found:
            sys.stderr.write(f"{what}:\n{_describe(found)}\n{system.output() if self._keep else ''}\n")
        return found

    def _plan(self, system: System, fault: Fault) -> Plan:
        specs = self._specs_of("batch" if fault in FAULTS else "points")
        if fault.poison:
            specs = [*specs, *self._specs_of(fault.poison)]

        def meanwhile(system: System, client: Client) -> None:
            fault.inject(self._context(system, client))

        return Plan(specs, self._expected, meanwhile, before=self._before(fault))

    def _before(self, fault: Fault):  # type: ignore[no-untyped-def]
        return fault.prepare and (lambda system, client: fault.prepare(self._context(system, client)))

    def _context(self, system: System, client: Client) -> FaultContext:
        deployment = system.deployment
        return FaultContext(
            system,
            client,
            deployment.rabbitmq,
            self._servers.postgres if deployment.database_url else None,
            self._servers.s3_proxy if deployment.store_url.startswith("s3:") else None,
            self._pause_secs,
        )

    def _specs_of(self, kind: str) -> list[JobSpec]:
        """Return the jobs of a kind of run; their images and expected outcomes are made once."""
        if kind not in self._specs:
            self._specs[kind] = workload.MAKERS[kind](self._inputs / kind)
            for spec in self._specs[kind]:
                self._expected[spec.name] = workload.calculate_expected(spec, self._servers.folder)
        return self._specs[kind]

    def _make_system(self, backends: Backends, placement: Sequence[str], *, disk: str = "", **options) -> System:  # type: ignore[no-untyped-def]
        return System(self._servers.make_deployment(backends, self._inputs, disk), placement, **options)

    def _clear(self, system: System) -> None:
        remove_deployment(system.deployment)
        shutil.rmtree(system.deployment.folder, ignore_errors=True)


def point_cases(sweep: Sweep, backends: Backends, points: Sequence[Point], times: Sequence[int]) -> Iterator[Case]:
    """Yield a case for each point, placement, count and kind of fault."""
    for point, placement in ((each, placement) for each in points for placement in each.placements):
        if point.needs == "postgresql" and backends.database != "postgresql":
            continue
        counts = sweep.count_points(backends, point.needs, placement)
        most = max(reached[point.name] for reached in counts.values())
        where = point.name if placement == "mixed" else f"{point.name}, {placement}"
        for count in times:
            if count <= max(most, 1):
                kinds = ("kill", "lost") if point.can_time_out else ("kill",)
                yield from (
                    Case(f"{where}, {kind}", backends, Injection(point.name, count, kind), placement=placement)
                    for kind in kinds
                )


def fault_cases(backends: Backends, chosen: Sequence[Fault], runs: int) -> Iterator[Case]:
    """Yield the cases of the faults that can happen on these servers."""
    available = {backends.database, backends.store, *(["mount"] if os.geteuid() == 0 else [])}
    for fault in chosen:
        if fault.needs <= available:
            yield from (Case(fault.name, backends, fault=fault) for _ in range(runs))


def _fault_for(need: str) -> Fault:
    inject = {"purge": faults.purge_queues, "death": faults.kill_worker_with_chunks}.get(need, faults.no_fault)
    return Fault("", inject, prepare=faults.pause_workers if need in ("purge", "death") else None)


def _describe(found: dict[str, list[str]]) -> str:
    return "\n".join(f"  {check}: {finding}" for check, findings in found.items() for finding in findings)


def _describe_case(number: int, secs: float, case: Case, found: dict[str, list[str]]) -> str:
    at = f" {case.injection.count}" if case.injection else ""
    what = f"FOUND {', '.join(found)}" if found else "no findings"
    return f"{secs:6.0f} s {number:4}  {case.row}{at} on {case.backends}: {what}\n"


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make ledger", description=__doc__)
    parser.add_argument("--point", action="append", choices=sorted(BY_NAME), help="only this point; may be repeated")
    parser.add_argument(
        "--fault", action="append", choices=[fault.name for fault in FAULTS], help="only this fault; may be repeated"
    )
    parser.add_argument("--runs", type=int, default=2, help="runs of each fault on the first set of servers")
    parser.add_argument(
        "--times", type=int, nargs="+", default=TIMES, help="inject a fault when a point is reached for the n-th time"
    )
    parser.add_argument(
        "--servers", type=int, action="append", choices=range(len(BACKENDS)), help="only this set of servers"
    )
    parser.add_argument("--pause", type=float, default=60.0, help="seconds for which a worker is paused")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs with findings")
    parser.add_argument("--write", action="store_true", help="write the table although not everything was run")
    return parser.parse_args()


def _cases(sweep: Sweep, given: argparse.Namespace) -> Iterator[Case]:
    everything = not given.point and not given.fault
    points = [point for point in POINTS if everything or point.name in (given.point or ())]
    chosen = [fault for fault in FAULTS if everything or fault.name in (given.fault or ())]
    for index in given.servers or range(len(BACKENDS)):
        backends = BACKENDS[index]
        try:
            sweep.check(backends)
        except MissingServerError as error:
            sys.stderr.write(f"{backends}: {error}\n")
            continue
        yield from point_cases(sweep, backends, points, given.times if index == 0 else (1,))
        yield from fault_cases(backends, chosen, given.runs if index == 0 else 1)


def main() -> int:
    """Do the runs of the command line; return the exit status."""
    given = _read_arguments()
    began = time.monotonic()
    with open_servers() as servers:
        sweep = Sweep(servers, pause_secs=given.pause, keep=given.keep)
        failed = 0
        for number, case in enumerate(_cases(sweep, given), start=1):
            found = sweep.run_fault(case) if case.fault else sweep.run_injection(case)
            failed += bool(found)
            sys.stdout.write(_describe_case(number, time.monotonic() - began, case, found))
            sys.stdout.flush()
        rows = list(sweep.rows.values())
    if given.write or not (given.point or given.fault or given.servers):
        write_page(PAGE, rows, time.monotonic() - began, sys.argv[1:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
