"""Fixtures for tests on a real cluster: an installation that most tests share, and a report of figures.

These tests take minutes, so they run only if their path is given, as in `make e2e`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from batches import Inputs, Ledger, make_inputs
from installation import Installation
from kube import ROOT, Namespace, Release, call, find_cluster
from loading import build_images, load_images, load_servers
from measures import Report

HERE = Path(__file__).parent
ORDER = [
    "install",
    "scaling",
    "deadlines",
    "survival",
    "memory",
    "placement",
    "backup",
    "uninstall",
    "rollback",
    "external",
    "keys",
    "skaffold",
]
"""Order of the modules: the shared installation is used, disturbed, changed and removed."""
_REPORT = Report()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", type=Path, help="page to write the tables of faults and figures to")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = [Path(argument.partition("::")[0]).absolute() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")) if HERE in item.path.parents else -1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _REPORT.figures or _REPORT.rows:
        terminalreporter.section("faults and figures")
        terminalreporter.write_line(_REPORT.write_json())
    page = config.getoption("--write-table")
    if page is not None:
        _REPORT.write_page(page)


@pytest.fixture(scope="session")
def report() -> Report:
    """The report of this test run."""
    return _REPORT


@pytest.fixture(scope="session", autouse=True)
def kubernetes(without_service: Callable[[str], NoReturn]) -> None:
    """Skips all tests without a cluster and its command-line tools."""
    missing = find_cluster()
    if missing is not None:
        without_service(missing)


@pytest.fixture(scope="session")
def tag(kubernetes: None) -> str:
    """The tag of the images in the cluster: PENSTOCK_E2E_TAG, or that of newly built ones."""
    if "PENSTOCK_E2E_TAG" in os.environ:
        return os.environ["PENSTOCK_E2E_TAG"]
    built = build_images()
    load_servers()
    load_images(built)
    return built


@pytest.fixture(scope="session")
def other_tag(tag: str) -> str:
    """Another tag of the same images."""
    load_images(f"{tag}-other")
    return f"{tag}-other"


@pytest.fixture(scope="session")
def values(tag: str) -> Mapping[str, Any]:
    """Values of all installations: the built images, and short intervals for repairs and garbage collection."""
    return {
        "image": {"registry": "local", "tag": tag},
        "deletionCost": {"enabled": True},
        "settings": {
            "PENSTOCK_REPAIR_SECS": "10",
            "PENSTOCK_STEP_WALL_SECS": "20",
            "PENSTOCK_SWEEP_SECS": "2",
            "PENSTOCK_ABANDONED_SECS": "15",
        },
        "stepDefaults": {"autoscaling": {"mode": "none"}, "resources": {"requests": {"cpu": "25m", "memory": "64Mi"}}},
        "rabbitmq": {"terminationGracePeriodSeconds": 5},  # Debian's script ignores SIGTERM
    }


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Images for the jobs."""
    return make_inputs(tmp_path_factory.mktemp("inputs"), ROOT.parent / "shared" / "data")


@contextmanager
def namespaces() -> Iterator[Callable[[str], Namespace]]:
    """Creates empty namespaces and deletes them afterwards, unless PENSTOCK_E2E_KEEP is set."""
    made = []

    def make(name: str) -> Namespace:
        made.append(Namespace(name))
        made[-1].create()
        return made[-1]

    yield make
    if "PENSTOCK_E2E_KEEP" not in os.environ:
        for namespace in made:
            namespace.delete()


@pytest.fixture(scope="module")
def make_namespace(kubernetes: None) -> Iterator[Callable[[str], Namespace]]:
    """Creates namespaces of one module: its pods must leave room on the node for those of the next one."""
    with namespaces() as make:
        yield make


@pytest.fixture(scope="session")
def main(kubernetes: None, values: Mapping[str, Any]) -> Iterator[Installation]:
    """The shared installation with bundled RabbitMQ, store and SQLite; the first test installs it."""
    with namespaces() as make:
        yield Installation(Release(make("e2e-main"), values=copy.deepcopy(dict(values))))


@pytest.fixture
def ledger(main: Installation, inputs: Inputs) -> Ledger:
    """A new ledger of the shared installation."""
    return Ledger(main, inputs)


@pytest.fixture
def keda(without_service: Callable[[str], NoReturn]) -> None:
    """Skips a test without KEDA."""
    if "keda.sh" not in call("kubectl", "api-versions").replace("/", "\n").split():
        without_service("the cluster has no KEDA")
