"""`penstock worker`: steps and liveness files from its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.model.operations import BUILT_IN
from penstock.common.settings import SettingsError, WorkerSettings
from penstock.worker.process.main import liveness_files, read_steps


def test_steps_may_be_named_in_any_order() -> None:
    assert read_steps("blur, resize") == {"blur", "resize"}
    assert read_steps("all") == set(BUILT_IN)


@pytest.mark.parametrize("text", ["", "blur,", "Blur", "all,blur", "blur resize"])
def test_an_unknown_step_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=f"accepted are all, or some of {','.join(BUILT_IN)}"):
        read_steps(text)


def test_every_process_has_its_own_liveness_file(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    assert liveness_files(WorkerSettings()) == []
    assert liveness_files(WorkerSettings(liveness_file=file)) == [file]
    two = liveness_files(WorkerSettings(liveness_file=file, concurrency=2))
    assert two == [tmp_path / "alive-0", tmp_path / "alive-1"]
