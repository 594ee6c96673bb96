"""Fixture that renders the chart with helm, without a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import NoReturn

import pytest
from rendering import Chart


@pytest.fixture(scope="session")
def chart(without_service: Callable[[str], NoReturn]) -> Chart:
    """Renders the chart with given values; caches the results."""
    if shutil.which("helm") is None:
        without_service("helm is not installed")
    return Chart()
