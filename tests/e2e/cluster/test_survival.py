"""What an installation survives in the middle of a batch: the ledger stays clean, whatever goes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from batches import Ledger, Pictures
from installation import Installation
from kube import kill_container
from measures import Report

Disturb = Callable[[Installation, tuple[str, str]], None]


def kill_step(main: Installation, _: tuple[str, str]) -> None:
    """As the kernel does when memory runs out: kill -9 of everything in the container, which is started again."""
    (pod,) = main.namespace.ready_pods("blur")
    assert kill_container(pod.container_ids[0])


def delete_step(main: Installation, _: tuple[str, str]) -> None:
    delete_at_once(main, "blur")


def delete_first_step(main: Installation, _: tuple[str, str]) -> None:
    delete_at_once(main, "resize")


def delete_rabbitmq(main: Installation, _: tuple[str, str]) -> None:
    main.namespace.kubectl("delete", "pod", f"{main.release.name}-rabbitmq-0", "--wait=false")


def delete_rabbitmq_at_once(main: Installation, _: tuple[str, str]) -> None:
    delete_at_once(main, "rabbitmq")


def kill_coordinator(main: Installation, _: tuple[str, str]) -> None:
    (pod,) = main.namespace.ready_pods("coordinator")
    assert kill_container(pod.container_ids[0])


def delete_coordinator(main: Installation, _: tuple[str, str]) -> None:
    delete_at_once(main, "coordinator")


def delete_web(main: Installation, _: tuple[str, str]) -> None:
    delete_at_once(main, "web")


def upgrade(main: Installation, tags: tuple[str, str]) -> None:
    """Roll every image to the other tag, and wait until that has come to its end."""
    used = main.release.values["image"]["tag"]
    (other,) = {*tags} - {used}
    main.release.upgrade({"image": {"tag": other}})
    images = {pod.shown["spec"]["containers"][0]["image"] for pod in main.namespace.pods("blur") if pod.ready}
    assert images == {f"local/penstock-blur:{other}"}


def delete_at_once(main: Installation, component: str) -> None:
    """End a component's pod as a node that goes away does: without asking it."""
    pod = random.choice(main.namespace.ready_pods(component))
    main.namespace.kubectl("delete", "pod", pod.name, "--force", "--grace-period=0")


DISTURBANCES: dict[str, Disturb] = {
    "a blur pod's processes killed (kill -9)": kill_step,
    "a blur pod deleted without grace": delete_step,
    "a resize pod deleted without grace": delete_first_step,
    "RabbitMQ's pod restarted": delete_rabbitmq,
    "RabbitMQ's pod deleted without grace": delete_rabbitmq_at_once,
    "the coordinator killed (kill -9)": kill_coordinator,
    "the coordinator's pod deleted without grace": delete_coordinator,
    "the web pod (front door and store) deleted without grace": delete_web,
    "every image upgraded to another tag": upgrade,
}


@pytest.mark.parametrize("what", DISTURBANCES)
def test_nothing_is_lost_doubled_or_wrong_when(
    what: str, main: Installation, tags: tuple[str, str], ledger: Ledger, pictures: Pictures, report: Report
) -> None:
    world = ledger.check(pictures.batch(), lambda: DISTURBANCES[what](main, tags))
    report.survive(what, world)
    main.release.wait_until_ready()


def test_nothing_is_lost_doubled_or_wrong_when_blur_is_scaled_in_from_4_to_1(
    main: Installation, ledger: Ledger, pictures: Pictures, report: Report
) -> None:
    main.release.scale("blur", 4)
    main.release.wait_for("blur", 4)
    world = ledger.check(pictures.batch(), lambda: main.release.scale("blur", 1))
    report.survive("blur scaled in from 4 to 1", world)
    main.release.wait_for("blur", 1)
