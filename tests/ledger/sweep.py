"""`make ledger`: every point, every fault, and the table of what came of it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import faults
import workload
from audit import World, audit
from client import Client
from drive import Plan, Run
from faults import FAULTS, PAIR, TWO, Fault, Scene
from faulty import Crash
from points import BY_NAME, POINTS, Point
from report import write_page
from servers import Ground, MissingError, Servers, open_servers
from stage import Stage, remove
from workload import Task, Wanted

GROUNDS = (
    Ground(),
    Ground(database="postgresql", store="s3"),
    Ground(rabbitmq="4", database="postgresql"),
)
"""The first one has every point several times, the others once in each way."""
TIMES = (1, 2, 7)
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
    """What came of all runs of one point in one way, or of one fault."""

    name: str
    runs: int = 0
    struck: int = 0
    restarts: int = 0
    redelivered: int = 0
    found: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Case:
    """One run to be done."""

    row: str
    ground: Ground
    crash: Crash | None = None
    fault: Fault | None = None


class Sweep:
    """Does runs, and counts what comes of them."""

    def __init__(self, servers: Servers, *, pause_secs: float = 60.0, keep: bool = False) -> None:
        self._servers = servers
        self._pause_secs = pause_secs
        self._keep = keep
        self._inputs = servers.folder / "inputs"
        self._tasks: dict[str, list[Task]] = {}
        self._wanted: dict[str, Wanted] = {}
        self._counts: dict[tuple[Ground, str], dict[str, Counter[str]]] = {}
        self.rows: dict[str, Row] = {}

    def count_points(self, ground: Ground, need: str = "") -> dict[str, Counter[str]]:
        """Return how often each process reaches each point in an undisturbed run, or in one with what `need` says."""
        key = ground, need if need in ("purge", "death") else ""
        if key not in self._counts:
            stage = self._stage(ground, TWO if key[1] else PAIR)
            self._play(stage, _disturbance(key[1]), f"undisturbed {key[1]}".strip())
            self._counts[key] = {name: Counter(lines) for name, lines in stage.reached().items()}
            self._clear(stage)
        return self._counts[key]

    def strike(self, case: Case) -> dict[str, list[str]]:
        """Do a run in which a process meets its crash; return what was found."""
        assert case.crash is not None
        need = BY_NAME[case.crash.point].needs
        counts = self.count_points(case.ground, need)
        victim = max(counts, key=lambda name: counts[name][case.crash.point if case.crash else ""])
        placement = TWO if need in ("purge", "death") else PAIR
        settings = {"PENSTOCK_MAX_ATTEMPTS": "9"} if need == "death" else {}
        stage = self._stage(case.ground, placement, crash=case.crash, victim=victim, settings=settings)
        return self._count(case, stage, _disturbance(need))

    def disturb(self, case: Case) -> dict[str, list[str]]:
        """Do a run in which a fault happens; return what was found."""
        fault = case.fault
        assert fault is not None
        stage = self._stage(case.ground, fault.placement, coordinators=fault.coordinators, settings=fault.settings)
        return self._count(case, stage, fault)

    def _count(self, case: Case, stage: Stage, fault: Fault) -> dict[str, list[str]]:
        found = self._play(stage, fault, str(case))
        row = self.rows.setdefault(case.row, Row(case.row))
        row.runs += 1
        row.struck += stage.struck or case.crash is None
        row.restarts += stage.restarts
        row.redelivered += stage.redelivered
        row.found.update({COLUMNS[check]: len(findings) for check, findings in found.items()})
        if not (found and self._keep):
            self._clear(stage)
        return found

    def _play(self, stage: Stage, fault: Fault, what: str) -> dict[str, list[str]]:
        plan = self._plan(stage, fault)
        stage.start()
        try:
            world: World = Run(stage, plan).play()
        finally:
            stage.end()
        found = audit(world)
        if found:
            sys.stderr.write(f"{what}:\n{_tell(found)}\n{stage.output() if self._keep else ''}\n")
        return found

    def _plan(self, stage: Stage, fault: Fault) -> Plan:
        tasks = self._tasks_of("batch" if fault in FAULTS else "points")
        if fault.poison:
            tasks = [*tasks, *self._tasks_of("poison")]

        def meanwhile(stage: Stage, client: Client) -> None:
            fault.happen(self._scene(stage, client))

        return Plan(tasks, self._wanted, meanwhile, before=self._before(fault))

    def _before(self, fault: Fault):  # type: ignore[no-untyped-def]
        return fault.before and (lambda stage, client: fault.before(self._scene(stage, client)))

    def _scene(self, stage: Stage, client: Client) -> Scene:
        place = stage.place
        return Scene(
            stage,
            client,
            place.rabbitmq,
            self._servers.postgres if place.database_url else None,
            self._servers.line if place.store_url.startswith("s3:") else None,
            self._pause_secs,
        )

    def _tasks_of(self, kind: str) -> list[Task]:
        """Return the jobs of a kind of run, drawn and worked out once."""
        if kind not in self._tasks:
            self._tasks[kind] = workload.MAKERS[kind](self._inputs / kind)
            for task in self._tasks[kind]:
                self._wanted[task.name] = workload.want(task, self._servers.folder)
        return self._tasks[kind]

    def _stage(self, ground: Ground, placement: Sequence[str], **options) -> Stage:  # type: ignore[no-untyped-def]
        return Stage(self._servers.make_place(ground, self._inputs), placement, **options)

    def _clear(self, stage: Stage) -> None:
        remove(stage.place)
        shutil.rmtree(stage.place.folder, ignore_errors=True)


def point_cases(sweep: Sweep, ground: Ground, points: Sequence[Point], times: Sequence[int]) -> Iterator[Case]:
    """Yield a run for each point, each time that it is reached at, and each kind."""
    for point in points:
        if point.needs == "postgresql" and ground.database != "postgresql":
            continue
        counts = sweep.count_points(ground, point.needs)
        most = max(reached[point.name] for reached in counts.values())
        for count in times:
            if count <= max(most, 1):
                kinds = ("kill", "lost") if point.tellable else ("kill",)
                yield from (Case(f"{point.name}, {kind}", ground, Crash(point.name, count, kind)) for kind in kinds)


def fault_cases(ground: Ground, wanted: Sequence[Fault], runs: int) -> Iterator[Case]:
    """Yield the runs of the faults that can happen on a ground."""
    there = {ground.database, ground.store}
    for fault in wanted:
        if fault.needs <= there:
            yield from (Case(fault.name, ground, fault=fault) for _ in range(runs))


def _disturbance(need: str) -> Fault:
    happen = {"purge": faults.purge_queues, "death": faults.kill_holder}.get(need, faults.nothing)
    return Fault("", happen, before=faults.hold_workers if need in ("purge", "death") else None)


def _tell(found: dict[str, list[str]]) -> str:
    return "\n".join(f"  {check}: {finding}" for check, findings in found.items() for finding in findings)


def _tell_case(number: int, secs: float, case: Case, found: dict[str, list[str]]) -> str:
    at = f" {case.crash.count}" if case.crash else ""
    what = f"FOUND {', '.join(found)}" if found else "nothing found"
    return f"{secs:6.0f} s {number:4}  {case.row}{at} on {case.ground}: {what}\n"


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make ledger", description=__doc__)
    parser.add_argument("--point", action="append", choices=sorted(BY_NAME), help="only this point; repeat for more")
    parser.add_argument(
        "--fault", action="append", choices=[fault.name for fault in FAULTS], help="only this fault; repeat for more"
    )
    parser.add_argument("--runs", type=int, default=2, help="runs of each fault on the first ground")
    parser.add_argument("--times", type=int, nargs="+", default=TIMES, help="at which time a point strikes")
    parser.add_argument("--ground", type=int, action="append", choices=range(len(GROUNDS)), help="only these servers")
    parser.add_argument("--pause", type=float, default=60.0, help="seconds for which a worker stands still")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run in which something was found")
    parser.add_argument("--write", action="store_true", help="write the table although this is not everything")
    return parser.parse_args()


def _cases(sweep: Sweep, given: argparse.Namespace) -> Iterator[Case]:
    everything = not given.point and not given.fault
    points = [point for point in POINTS if everything or point.name in (given.point or ())]
    wanted = [fault for fault in FAULTS if everything or fault.name in (given.fault or ())]
    for index in given.ground or range(len(GROUNDS)):
        ground = GROUNDS[index]
        try:
            sweep.count_points(ground)
        except MissingError as error:
            sys.stderr.write(f"{ground}: {error}\n")
            continue
        yield from point_cases(sweep, ground, points, given.times if index == 0 else (1,))
        yield from fault_cases(ground, wanted, given.runs if index == 0 else 1)


def main() -> int:
    """Do everything that the command line asks for; return the exit status."""
    given = _read_arguments()
    began = time.monotonic()
    with open_servers() as servers:
        sweep = Sweep(servers, pause_secs=given.pause, keep=given.keep)
        failed = 0
        for number, case in enumerate(_cases(sweep, given), start=1):
            found = sweep.disturb(case) if case.fault else sweep.strike(case)
            failed += bool(found)
            sys.stdout.write(_tell_case(number, time.monotonic() - began, case, found))
            sys.stdout.flush()
        rows = list(sweep.rows.values())
    if given.write or not (given.point or given.fault or given.ground):
        write_page(
            Path(__file__).resolve().parents[2] / "docs" / "reliability.md",
            rows,
            time.monotonic() - began,
            sys.argv[1:],
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
