"""The alert on a blocked broker, tested with a real RabbitMQ whose disk counts as full."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import yaml
from ports import free_ports
from prometheus_server import find_programs, running_prometheus
from rabbitmq_server import PackagedRabbit
from rabbitmq_server import find_programs as find_rabbitmq
from waiting import wait_until

ALERTS = Path(__file__).resolve().parents[3] / "charts" / "penstock" / "alerts" / "penstock.yaml"
GROUPS = {group["name"]: group["rules"] for group in yaml.safe_load(ALERTS.read_text())["groups"]}


@pytest.fixture(scope="module")
def rabbit(without_service: Callable[[str], NoReturn]) -> Iterator[tuple[PackagedRabbit, str]]:
    """A RabbitMQ with its Prometheus plugin, and the address of its metrics (host:port)."""
    programs = find_rabbitmq()
    if programs is None:
        without_service("no RabbitMQ server is installed (Debian: apt-get install rabbitmq-server)")
    server = PackagedRabbit(programs)
    try:
        [port] = free_ports(1)
        (server.folder / "plugins").write_text("[rabbitmq_prometheus].\n")
        with open(server.folder / "rabbitmq.conf", "a") as config:
            config.write(f"\nprometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n")
        server.start()
        yield server, f"127.0.0.1:{port}"
    finally:
        server.remove()


def test_the_alert_fires_when_the_brokers_disk_runs_full(
    rabbit: tuple[PackagedRabbit, str], without_service: Callable[[str], NoReturn], tmp_path: Path
) -> None:
    programs = find_programs()
    if programs is None:
        without_service("Prometheus is not installed (Debian: apt-get install prometheus)")
    server, address = rabbit
    [rule] = GROUPS["penstock-rabbitmq"]
    names = set(re.findall(r"rabbitmq_[a-z_]+", rule["expr"]))
    wait_until(lambda: names <= set(re.findall(r"^rabbitmq_[a-z_]+", read_metrics(address), re.MULTILINE)))
    with running_prometheus(programs[0], tmp_path, address) as prometheus:
        wait_until(lambda: all(prometheus.query(name) for name in names))
        assert prometheus.query(rule["expr"]) == []
        server.control("set_disk_free_limit", "900000GB")
        wait_until(lambda: bool(prometheus.query(rule["expr"])))


def read_metrics(address: str) -> str:
    try:
        return httpx.get(f"http://{address}/metrics", timeout=5).text
    except httpx.TransportError:
        return ""
