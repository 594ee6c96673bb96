"""One installation on a real cluster, which most tests share; in the end, what was measured on the way.

These tests take minutes, so they run only where their path is given: `make e2e`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from batches import Ledger, Pictures, make_pictures
from installation import Installation
from kube import ROOT, Namespace, Release, find_cluster
from loading import bring_images, bring_servers, build_images
from measures import Report

HERE = Path(__file__).parent
ORDER = ["install", "scaling", "survival", "placement", "uninstall", "external", "keys", "skaffold"]
"""Modules in this order: what stands is used, disturbed, changed, and removed in the end."""
_REPORT = Report()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", type=Path, help="page into which what was survived and measured is written")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = [Path(argument.partition("::")[0]).absolute() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")) if HERE in item.path.parents else -1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _REPORT.figures or _REPORT.rows:
        terminalreporter.section("what was survived and measured")
        terminalreporter.write_line(_REPORT.write_json())
    page = config.getoption("--write-table")
    if page is not None:
        _REPORT.write_page(page)


@pytest.fixture(scope="session")
def report() -> Report:
    """Where figures and rows go."""
    return _REPORT


@pytest.fixture(scope="session", autouse=True)
def kubernetes(without_service: Callable[[str], NoReturn]) -> None:
    """A cluster that answers, and the commands that speak to it."""
    missing = find_cluster()
    if missing is not None:
        without_service(missing)


@pytest.fixture(scope="session")
def tag(kubernetes: None) -> str:
    """The tag under which every image is in the cluster: PENSTOCK_E2E_TAG, or one for what is built now."""
    if "PENSTOCK_E2E_TAG" in os.environ:
        return os.environ["PENSTOCK_E2E_TAG"]
    built = build_images()
    bring_servers()
    bring_images(built)
    return built


@pytest.fixture(scope="session")
def other_tag(tag: str) -> str:
    """Another one, for the same images."""
    bring_images(f"{tag}-other")
    return f"{tag}-other"


@pytest.fixture(scope="session")
def values(tag: str) -> Mapping[str, Any]:
    """What every installation has: images as built just now, sweeps and repairs that a test need not wait long for."""
    return {
        "image": {"registry": "local", "tag": tag},
        "deletionCost": {"enabled": True},
        "settings": {
            "PENSTOCK_REPAIR_SECS": "10",
            "PENSTOCK_STEP_TIMEOUT_SECS": "20",
            "PENSTOCK_SWEEP_SECS": "2",
            "PENSTOCK_ABANDONED_SECS": "15",
        },
        "stepDefaults": {"autoscaling": {"mode": "none"}, "resources": {"requests": {"cpu": "25m", "memory": "64Mi"}}},
        "rabbitmq": {"terminationGracePeriodSeconds": 5},  # Debian's script does not hear SIGTERM
    }


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """What is sent."""
    return make_pictures(tmp_path_factory.mktemp("pictures"), ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def make_namespace(kubernetes: None) -> Iterator[Callable[[str], Namespace]]:
    """Makes empty namespaces, which are gone in the end; PENSTOCK_E2E_KEEP keeps them to be looked at."""
    made = []

    def make(name: str) -> Namespace:
        made.append(Namespace(name))
        made[-1].create()
        return made[-1]

    yield make
    if "PENSTOCK_E2E_KEEP" not in os.environ:
        for namespace in made:
            namespace.delete()


@pytest.fixture(scope="session")
def main(make_namespace: Callable[[str], Namespace], values: Mapping[str, Any]) -> Installation:
    """The installation that tests share, with RabbitMQ, store and SQLite of the chart's own: the first test's work."""
    return Installation(Release(make_namespace("e2e-main"), values=copy.deepcopy(dict(values))))


@pytest.fixture
def ledger(main: Installation, pictures: Pictures) -> Ledger:
    """The shared installation's ledger, from here on."""
    return Ledger(main, pictures)
