"""Faults during a job: the ledger finds nothing lost, duplicated or wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from batches import Inputs, Ledger
from installation import Installation
from kube import CommandError, kill_container
from measures import Report

Disturb = Callable[[Installation], None]


def kill_step(main: Installation) -> None:
    """Kill all processes of the container with SIGKILL, as the kernel does when out of memory; it is restarted."""
    (pod,) = main.namespace.ready_pods("blur")
    assert kill_container(pod.container_ids[0])


def delete_step(main: Installation) -> None:
    delete_at_once(main, "blur")


def delete_first_step(main: Installation) -> None:
    delete_at_once(main, "resize")


def stop_rabbitmq(main: Installation) -> None:
    """Terminate the process gracefully; its container is restarted."""
    with suppress(CommandError):  # the command may end with the container
        main.namespace.kubectl("exec", f"{main.release.name}-rabbitmq-0", "--", "rabbitmqctl", "stop")


def delete_rabbitmq_at_once(main: Installation) -> None:
    delete_at_once(main, "rabbitmq")


def kill_coordinator(main: Installation) -> None:
    (pod,) = main.namespace.ready_pods("coordinator")
    assert kill_container(pod.container_ids[0])


def delete_coordinator(main: Installation) -> None:
    delete_at_once(main, "coordinator")


def delete_web(main: Installation) -> None:
    delete_at_once(main, "web")


def delete_at_once(main: Installation, component: str) -> None:
    """Delete a component's pod without grace period, as the loss of a node does."""
    pod = random.choice(main.namespace.ready_pods(component))
    main.namespace.kubectl("delete", "pod", pod.name, "--force", "--grace-period=0")


DISTURBANCES: dict[str, Disturb] = {
    "a blur pod's processes killed (kill -9)": kill_step,
    "a blur pod deleted without grace": delete_step,
    "a resize pod deleted without grace": delete_first_step,
    "RabbitMQ stopped and started again": stop_rabbitmq,
    "RabbitMQ's pod deleted without grace": delete_rabbitmq_at_once,
    "the coordinator killed (kill -9)": kill_coordinator,
    "the coordinator's pod deleted without grace": delete_coordinator,
    "the web pod (front door and store) deleted without grace": delete_web,
}


@pytest.mark.parametrize("what", DISTURBANCES)
def test_nothing_is_lost_duplicated_or_wrong_when(
    what: str, main: Installation, ledger: Ledger, inputs: Inputs, report: Report
) -> None:
    final = ledger.check(inputs.batch(), lambda: DISTURBANCES[what](main))
    report.survive(what, final)
    main.release.wait_until_ready()


def test_nothing_is_lost_duplicated_or_wrong_when_blur_is_scaled_in_from_4_to_1(
    main: Installation, ledger: Ledger, inputs: Inputs, report: Report
) -> None:
    main.release.scale("blur", 4)
    main.release.wait_for("blur", 4)
    final = ledger.check(inputs.batch(), lambda: main.release.scale("blur", 1))
    report.survive("blur scaled in from 4 to 1", final)
    main.release.wait_for("blur", 1)


def test_nothing_is_lost_duplicated_or_wrong_when_every_image_is_upgraded(
    main: Installation, tag: str, other_tag: str, ledger: Ledger, inputs: Inputs, report: Report
) -> None:
    final = ledger.check(inputs.batch(), lambda: main.release.upgrade({"image": {"tag": other_tag}}))
    report.survive("every image upgraded to another tag", final)
    images = {pod.shown["spec"]["containers"][0]["image"] for pod in main.namespace.pods("blur")}
    assert images == {f"local/penstock-blur:{other_tag}"}
    main.release.upgrade({"image": {"tag": tag}})
