"""The benchmark with all contestants; four images give no meaningful figures, but all results are compared."""

from __future__ import annotations

import json

import pytest

from penstock.benchmark.bench.contestants import CONTESTANTS
from penstock.benchmark.bench.runner import run_bench


def test_every_contestant_gives_the_plain_pools_results(capsys: pytest.CaptureFixture[str]) -> None:
    workloads = ["resize-split-gaussian-jpg", "split-gaussian-png"]
    run_bench(images=4, rounds=1, workloads=workloads, as_json=True)
    measured = json.loads(capsys.readouterr().out)
    assert [figures["name"] for figures in measured["workloads"]] == workloads
    for figures in measured["workloads"]:
        assert {name: len(each["seconds"]) for name, each in figures["contestants"].items()} == dict.fromkeys(
            CONTESTANTS, 1
        )
    assert measured["latency"].keys() == measured["call_latency"].keys() == {"p50_ms", "p90_ms", "p99_ms"}
