"""The answer: which step holds the system back, and how many replicas more would end that.

Arithmetic alone, over what the steps tell. Each worker counts as one that has a core of its own. Work is to be done
within a goal (`PENSTOCK_ADVICE_SECS`); where the step after it would take longer than that anyhow, no more replicas
are asked for than bring the slowest step down to it, and it is named as the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from penstock.common.model.rest import Advice
from penstock.coordinator.ports.scheduler import StepStatus
from penstock.coordinator.scheduling.replicas import Replicas

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Team:
    """Steps that the same workers serve, the one with most work first. Most often it is one step."""

    steps: tuple[str, ...]
    backlog_secs: float | None
    remaining: int
    ready: int
    workers: int
    busy: float | None
    replicas: int
    workers_each: float
    deployments: tuple[str, ...]
    namespace: str

    @property
    def is_needed(self) -> bool:
        """Whether anything is known to be left to do for it."""
        return self.remaining > 0 and (self.workers == 0 or bool(self.backlog_secs))

    @property
    def finish_secs(self) -> float:
        """How long its workers need for what is left: for ever, where there is none."""
        return (self.backlog_secs or 0.0) / self.workers if self.workers else math.inf

    def replicas_for(self, secs: float) -> int:
        """Return how many replicas do the work within so many seconds; never more than there are images for."""
        wanted = (self.backlog_secs or 0.0) / secs / self.workers_each
        return max(1, math.ceil(min(wanted, self.remaining / self.workers_each) - _ROUNDING))

    def secs_with(self, replicas: int) -> float | None:
        """Return how long so many replicas need; None where that was not measured, or for none."""
        if self.backlog_secs is None or not replicas:
            return None
        return self.backlog_secs / min(replicas * self.workers_each, max(1, self.remaining))


def advise(
    statuses: Sequence[StepStatus],
    find_replicas: Callable[[str], Replicas | None],
    goal_secs: float,
    *,
    can_grow: bool = True,
) -> Advice | None:
    """Return what would bring the work of the slowest step down to `goal_secs`; None where nothing is left to do.

    `can_grow`: whether workers can be added while the system runs.
    """
    teams = [team for team in make_teams(statuses, find_replicas) if team.is_needed]
    if not teams:
        return None
    slowest, *others = sorted(teams, key=lambda team: (team.finish_secs, team.ready, team.remaining), reverse=True)
    following = others[0] if others else None
    within = max(goal_secs, following.finish_secs) if following and following.workers else goal_secs
    more = max(0, slowest.replicas_for(within) - slowest.replicas) if can_grow else 0
    finishes = slowest.secs_with(slowest.replicas + more)
    after = following if more and following and following.finish_secs > (finishes or 0.0) else None
    return Advice(
        sentence=_say(slowest, more, finishes, after),
        step=slowest.steps[0],
        steps=list(slowest.steps),
        busy=slowest.busy,
        backlog_seconds=slowest.backlog_secs,
        replicas_now=slowest.replicas,
        replicas_more=more,
        finishes_in_seconds=finishes,
        next_step=after.steps[0] if after else None,
        command=_command(slowest, more) if more else None,
    )


def make_teams(statuses: Sequence[StepStatus], find_replicas: Callable[[str], Replicas | None]) -> list[Team]:
    """Return the steps in groups that share their workers, as their images and their Deployments tell."""
    found = {status.name: find_replicas(status.name) for status in statuses}
    groups: list[list[StepStatus]] = []
    for status in statuses:
        group = next((group for group in groups if any(_share(status, other, found) for other in group)), None)
        if group is None:
            groups.append([status])
        else:
            group.append(status)
    return [_make_team(group, found[group[0].name]) for group in groups]


def _share(one: StepStatus, other: StepStatus, found: dict[str, Replicas | None]) -> bool:
    here, there = found[one.name], found[other.name]
    if here is not None and there is not None and here.deployments:
        return here.deployments == there.deployments
    return other.name in one.shared_with or one.name in other.shared_with


def _make_team(group: Sequence[StepStatus], found: Replicas | None) -> Team:
    ordered = sorted(group, key=lambda status: status.backlog_seconds or 0.0, reverse=True)
    workers = max(status.workers for status in group)
    return Team(
        steps=tuple(status.name for status in ordered),
        backlog_secs=_sum_known(status.backlog_seconds for status in group),
        remaining=max(status.remaining for status in group),
        ready=max(status.ready for status in group),
        workers=workers,
        busy=_at_most_1(_sum_known(status.utilisation for status in group)),
        replicas=workers if found is None else found.desired,
        workers_each=max(1.0, workers / found.ready) if found is not None and found.ready else 1.0,
        deployments=() if found is None else found.deployments,
        namespace="" if found is None else found.namespace,
    )


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _at_most_1(value: float | None) -> float | None:
    return None if value is None else min(1.0, value)


def _command(team: Team, more: int) -> str | None:
    if len(team.deployments) == 1:
        where = f" --namespace={team.namespace}" if team.namespace else ""
        return f"kubectl scale deployment/{team.deployments[0]} --replicas={team.replicas + more}{where}"
    if team.deployments:
        return None  # which of them is for whoever made several
    return f"penstock worker --steps {','.join(sorted(team.steps))} --concurrency {more}"


def _say(team: Team, more: int, finishes_secs: float | None, after: Team | None) -> str:
    told = f"{_name(team)}: {_say_state(team)}, {_say_work(team)}; {_say_remedy(team, more, finishes_secs)}"
    return told if after is None else f"{told}, and then {after.steps[0]} holds things back"


def _name(team: Team) -> str:
    first, *others = team.steps
    return first if not others else f"{first} (with {', '.join(others)} in the same workers)"


def _say_state(team: Team) -> str:
    if not team.workers:
        return f"none of its {_count(team)} is at work yet" if team.replicas else "no worker"
    return "at work" if team.busy is None else f"{team.busy:.0%}".replace("%", " % busy")


def _say_work(team: Team) -> str:
    if team.backlog_secs is None:
        return f"{team.remaining:,} image{'s' * (team.remaining != 1)} waiting"
    return f"{team.backlog_secs:,.{0 if team.backlog_secs >= 10 else 1}f} s of work waiting"


def _say_remedy(team: Team, more: int, secs: float | None) -> str:
    who = _count(team, more, "more " * bool(team.replicas)) if more else f"its {_count(team)}"
    one = (more or team.replicas) == 1
    if not more and not team.replicas:
        return "nobody can be added here"
    if secs is None:
        return f"{who} begin{'s' * one} it, and tell{'s' * one} how long it takes"
    return f"{who} finish{'es' * one} it in {say_secs(secs)}"


def _count(team: Team, count: int | None = None, more: str = "") -> str:
    count = team.replicas if count is None else count
    noun = "replica" if team.deployments else "worker"
    return f"{count:,} {more}{noun}{'s' * (count != 1)}"


def say_secs(secs: float) -> str:
    """Return a time as one says it: `40 seconds`, `5 minutes`, `2.5 hours`."""
    for limit, unit, form in ((100.0, 1.0, "second"), (6_000.0, 60.0, "minute")):
        if secs < limit:
            number = max(1, round(secs / unit))
            return f"{number} {form}{'s' * (number != 1)}"
    return f"{secs / 3_600:,.1f} hours"
