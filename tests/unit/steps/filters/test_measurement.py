"""scripts/measure_gpu_blur.py, with tiny images in the simulator."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.steps.filters import base as filters

measure_gpu_blur = pytest.importorskip("measure_gpu_blur", reason="the extra gpu is not installed")

TINY = ["--side", "5", "--images", "1"]


@pytest.fixture(autouse=True)
def few_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the process with the filters that it had."""
    monkeypatch.setattr(filters, "chosen", filters.chosen)
    monkeypatch.setattr(measure_gpu_blur, "STRENGTHS", ("gaussian", "median,aperture=3", "bilateral,portable=true"))


def test_it_prints_a_line_for_each_strength(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_gpu_blur.main(TINY) == 0
    title, *lines, verdict = capsys.readouterr().out.splitlines()
    assert title.split() == ["ms", "per", "image", "of", "5x5", "OpenCV", "GPU", "kernels"]
    assert [line.split()[0] for line in lines] == ["gaussian", "median,aperture=3", "bilateral,portable=true"]
    assert verdict == "every byte is OpenCV's"


def test_a_byte_that_differs_is_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_gpu_blur.CudaFilters, "median", lambda self, pixels, aperture: np.zeros_like(pixels))
    assert measure_gpu_blur.main(TINY) == 1
    assert "median, noise: 60 of 60 values differ" in capsys.readouterr().out
