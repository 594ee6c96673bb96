"""Advice: which step is the bottleneck, and how many more replicas would help.

The work left should be done within a goal (`PENSTOCK_ADVICE_SECS`). If another step takes longer than that anyway, only
as many replicas are advised as bring the bottleneck down to it, and it is named as the next bottleneck. Each worker
counts as having its own core.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.common.model.rest import Advice
from penstock.coordinator.ports.scheduler import StepStatus
from penstock.coordinator.scheduling.replicas import Replicas

_ROUNDING = 1e-9

FindReplicas = Callable[[str], Replicas | None]


@dataclass(frozen=True)
class WorkerPool:
    """Steps that the same workers serve, the one with most work first. Most pools have one step."""

    steps: tuple[str, ...]
    backlog_secs: float | None
    remaining: int
    ready: int
    workers: int
    busy: float | None
    replicas: int
    workers_per_replica: float
    deployments: tuple[str, ...]
    namespace: str
    deadline_workers: int = 0

    @property
    def has_work(self) -> bool:
        """Whether work is known to be left for it."""
        return self.remaining > 0 and (self.workers == 0 or bool(self.backlog_secs))

    @property
    def finish_secs(self) -> float:
        """How long its workers need for the work left; infinite without workers."""
        return (self.backlog_secs or 0.0) / self.workers if self.workers else math.inf

    def replicas_for(self, secs: float) -> int:
        """Return how many replicas finish the work within `secs`; never more than there are images for."""
        wanted = (self.backlog_secs or 0.0) / secs / self.workers_per_replica
        return max(1, math.ceil(min(wanted, self.remaining / self.workers_per_replica) - _ROUNDING))

    @property
    def deadline_replicas(self) -> int:
        """The replicas that the deadlines of jobs take."""
        return math.ceil(self.deadline_workers / self.workers_per_replica)

    @property
    def missing_replicas(self) -> int:
        """The replicas that deadlines take besides those that there are."""
        return max(0, self.deadline_replicas - self.replicas)

    def secs_with(self, replicas: int) -> float | None:
        """Return how long `replicas` need for the work left; None if not measured, or without replicas."""
        if self.backlog_secs is None or not replicas:
            return None
        return self.backlog_secs / min(replicas * self.workers_per_replica, max(1, self.remaining))

    def command_for(self, replicas: int) -> str | None:
        """Return the command that scales to `replicas`; None if several Deployments serve these steps."""
        if len(self.deployments) == 1:
            namespace = f" --namespace={self.namespace}" if self.namespace else ""
            return f"kubectl scale deployment/{self.deployments[0]} --replicas={replicas}{namespace}"
        if self.deployments:
            return None
        return f"penstock worker --steps {','.join(sorted(self.steps))} --concurrency {replicas - self.replicas}"


def advise(
    statuses: Sequence[StepStatus], find_replicas: FindReplicas, goal_secs: float, *, can_add_workers: bool = True
) -> Advice | None:
    """Return how to finish the bottleneck's work within `goal_secs`, and in time; None if no work is left.

    A step that has too few replicas for the deadlines of its jobs goes before the bottleneck.
    `can_add_workers` says whether workers can be added while the system runs.
    """
    pools = sort_by_need(make_pools(statuses, find_replicas))
    if not pools:
        return None
    bottleneck, *others = sorted(pools, key=lambda pool: pool.missing_replicas if can_add_workers else 0, reverse=True)
    second = others[0] if others else None
    target_secs = max(goal_secs, second.finish_secs) if second and second.workers else goal_secs
    more = bottleneck.replicas_for(target_secs) - bottleneck.replicas
    more = max(0, more, bottleneck.missing_replicas) if can_add_workers else 0
    finish_secs = bottleneck.secs_with(bottleneck.replicas + more)
    is_overtaken = more and second is not None and second.finish_secs > (finish_secs or 0.0)
    next_step = second.steps[0] if second and is_overtaken else None
    return Advice(
        sentence=_summarize(bottleneck, more, finish_secs, next_step),
        step=bottleneck.steps[0],
        steps=list(bottleneck.steps),
        busy=bottleneck.busy,
        backlog_seconds=bottleneck.backlog_secs,
        replicas_now=bottleneck.replicas,
        replicas_more=more,
        deadline_replicas=bottleneck.deadline_replicas,
        finishes_in_seconds=finish_secs,
        next_step=next_step,
        command=bottleneck.command_for(bottleneck.replicas + more) if more else None,
    )


def sort_by_need(pools: Iterable[WorkerPool]) -> list[WorkerPool]:
    """Return the pools that have work, the bottleneck first: its workers need longest, or there are none."""
    working = [pool for pool in pools if pool.has_work]
    return sorted(working, key=lambda pool: (pool.finish_secs, pool.ready, pool.remaining), reverse=True)


def _summarize(pool: WorkerPool, more: int, finish_secs: float | None, next_step: str | None) -> str:
    """Return the advice as one line, for terminals."""
    name, *others = pool.steps
    parts = [
        "" if pool.busy is None else f"{pool.busy:.0%} busy",
        f"{pool.remaining:,} images left" if pool.backlog_secs is None else f"{_secs(pool.backlog_secs)} of work left",
        f"replicas {pool.replicas:,} + {more:,}" if more else f"replicas {pool.replicas:,}",
        f"deadlines take {pool.deadline_replicas:,}" if pool.deadline_replicas else "",
        "" if finish_secs is None else f"finished in {_secs(finish_secs)}",
        f"next bottleneck {next_step}" if next_step else "",
    ]
    label = f"{name} (with {', '.join(others)})" if others else name
    return f"{label}: {', '.join(filter(None, parts))}"


def _secs(secs: float) -> str:
    return f"{secs:,.1f} s" if secs < 10 else f"{secs:,.0f} s"


def make_pools(statuses: Sequence[StepStatus], find_replicas: FindReplicas) -> list[WorkerPool]:
    """Group the steps that share their workers, as known from their Deployments or their images."""
    replicas = {status.name: find_replicas(status.name) for status in statuses}
    groups: list[list[StepStatus]] = []
    for status in statuses:
        group = next(
            (group for group in groups if any(_share_workers(status, other, replicas) for other in group)), None
        )
        if group is None:
            groups.append([status])
        else:
            group.append(status)
    return [_make_pool(group, replicas[group[0].name]) for group in groups]


def _share_workers(one: StepStatus, other: StepStatus, replicas: Mapping[str, Replicas | None]) -> bool:
    first, second = replicas[one.name], replicas[other.name]
    if first is not None and second is not None and first.deployments:
        return first.deployments == second.deployments
    return other.name in one.shared_with or one.name in other.shared_with


def _make_pool(group: Sequence[StepStatus], replicas: Replicas | None) -> WorkerPool:
    ordered = sorted(group, key=lambda status: status.backlog_seconds or 0.0, reverse=True)
    workers = max(status.workers for status in group)
    busy = _sum_known(status.utilisation for status in group)
    return WorkerPool(
        steps=tuple(status.name for status in ordered),
        backlog_secs=_sum_known(status.backlog_seconds for status in group),
        remaining=max(status.remaining for status in group),
        ready=max(status.ready for status in group),
        workers=workers,
        busy=None if busy is None else min(1.0, busy),
        replicas=workers if replicas is None else replicas.desired,
        workers_per_replica=max(1.0, workers / replicas.ready) if replicas is not None and replicas.ready else 1.0,
        deployments=() if replicas is None else replicas.deployments,
        namespace="" if replicas is None else replicas.namespace,
        deadline_workers=max(status.deadline_workers for status in group),
    )


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
