"""Fixtures for the coordinator's unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from coordinator_fixture import CoordinatorFixture, open_coordinator


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[CoordinatorFixture]:
    with open_coordinator(tmp_path) as opened:
        yield opened
