"""Dashboard and alerts: all their expressions work in a Prometheus that scrapes a running system."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
import yaml
from prometheus_server import Prometheus, find_programs, running_prometheus
from waiting import wait_until

from penstock.local.server_process import find_free_port, serve

CHART = Path(__file__).resolve().parents[3] / "charts" / "penstock"
ALERTS = CHART / "alerts" / "penstock.yaml"
DASHBOARD = json.loads((CHART / "dashboards" / "penstock.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
GROUPS = {group["name"]: group["rules"] for group in yaml.safe_load(ALERTS.read_text())["groups"]}
RULES = GROUPS["penstock"]
SERIES = re.compile(r"\b(?:penstock|process)_[a-z_]+")
IMAGES = 60


@pytest.fixture(scope="module")
def programs(without_service: Callable[[str], NoReturn]) -> tuple[str, str]:
    found = find_programs()
    if found is None:
        without_service("Prometheus is not installed (Debian: apt-get install prometheus)")
    return found


@pytest.fixture(scope="module")
def scraped(
    programs: tuple[str, str], drawn: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScrapedSystem]:
    """A scraped system that runs batches, each with a broken file."""
    folder = tmp_path_factory.mktemp("queries")
    port = find_free_port()
    options = ["--data", str(folder / "data"), "--placement", "per_step", "--workers", "1"]
    with (
        serve(options, port=port, log=folder / "log") as (url, _),
        running_prometheus(programs[0], folder, f"127.0.0.1:{port}") as prometheus,
    ):
        wait_until(lambda: bool(prometheus.query("penstock_leads")))
        yield ScrapedSystem(prometheus, url, drawn)


def send_batch(url: str, photos: list[Path]) -> str:
    """Start a job and return its URL; one of its files is truncated."""
    data = [photos[number % len(photos)].read_bytes() for number in range(IMAGES)]
    files = [("files", (f"{number}.jpg", each)) for number, each in enumerate([*data, data[0][:2_000]])]
    job = {"operations": [["resize", "320x240"], ["split", True], ["blur", "bilateral"]], "chunk_size": 1}
    answer = httpx.post(f"{url}/v1/jobs", data={"job": json.dumps(job)}, files=files, timeout=60)
    assert answer.status_code == 202, answer.text
    return f"{url}{answer.json()['url']}"


class ScrapedSystem:
    """Repeats queries that have had no number yet, while it runs batch after batch.

    One batch is not enough: a series whose first value is also its last has no rate.
    """

    def __init__(self, prometheus: Prometheus, url: str, photos: list[Path]) -> None:
        self.prometheus = prometheus
        self.url = url
        self.photos = photos
        self.job = send_batch(url, photos)
        self.pending = {*queries(), *(series for rule in RULES for series in SERIES.findall(rule["expr"]))}

    def has_number(self, expression: str) -> bool:
        """Return whether an expression has given a number so far."""
        self.pending -= {each for each in self.pending if self._is_number(each)}
        if self.pending and httpx.get(self.job).json()["finished_at"]:
            self.job = send_batch(self.url, self.photos)
        return expression not in self.pending

    def is_valid(self, expression: str) -> bool:
        """Return whether Prometheus accepts an expression."""
        return isinstance(self.prometheus.query(expression), list)

    def _is_number(self, expression: str) -> bool:
        return any(not math.isnan(float(each["value"][1])) for each in self.prometheus.query(expression))


def queries() -> list[str]:
    """Return the dashboard's expressions with Grafana's variables filled in."""
    return [fill_in(target["expr"]) for panel in PANELS for target in panel["targets"]]


def fill_in(expression: str) -> str:
    return expression.replace("$__rate_interval", "20s").replace("$namespace", ".*")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_of_the_dashboard_shows_data(panel: dict[str, Any], scraped: ScrapedSystem) -> None:
    for query in (fill_in(target["expr"]) for target in panel["targets"]):
        wait_until(lambda query=query: scraped.has_number(query))
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_uses_series_that_exist(rule: dict[str, Any], scraped: ScrapedSystem) -> None:
    assert scraped.is_valid(rule["expr"])
    for series in SERIES.findall(rule["expr"]):
        wait_until(lambda name=series: scraped.has_number(name))
    assert {"summary", "description"} == set(rule["annotations"])


def test_no_series_has_a_job_or_a_path_as_label(scraped: ScrapedSystem, programs: tuple[str, str]) -> None:
    labels = {name for each in scraped.prometheus.query('{__name__=~"penstock_.+"}') for name in each["metric"]}
    assert labels - {"__name__", "instance"} == {
        "call", "dependency", "job", "le", "method", "outcome", "python", "queue", "route", "side", "state", "status",
        "step", "version",
    }  # fmt: skip
    jobs = {each["metric"]["job"] for each in scraped.prometheus.query('{__name__=~"penstock_.+"}')}
    assert jobs == {"penstock"}, "the name of the scrape job"


def test_promtool_accepts_the_alerts(programs: tuple[str, str]) -> None:
    checked = subprocess.run([programs[1], "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {sum(map(len, GROUPS.values()))} rules found" in checked.stdout


def test_promtool_accepts_the_metrics(scraped: ScrapedSystem, programs: tuple[str, str]) -> None:
    text = httpx.get(f"{scraped.url}/metrics").content
    checked = subprocess.run([programs[1], "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
