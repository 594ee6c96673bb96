"""`penstock bench --server`: measures a running server, compares all results, and deletes its jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from http_proxy import http_proxy
from webhook_receiver import make_certificate

from penstock.benchmark.bench import remote
from penstock.benchmark.bench.contestants import BenchError, Verifier
from penstock.benchmark.bench.remote import ServerFigures, read_server, run_server_bench, show_table
from penstock.benchmark.bench.workloads import WORKLOADS
from penstock.common.model.errors import PenstockError, UnavailableError

QUICK = {"images": 3, "rounds": 2, "workloads": ["resize-split-gaussian-jpg"]}


@pytest.fixture
def server(start_server: Callable[..., Any]) -> Any:
    """An idle server."""
    return start_server("--workers", "1")


def jobs(server: Any) -> list[Any]:
    return server.call("GET", "/v1/jobs")["jobs"]


def test_a_running_server_is_measured_and_keeps_no_jobs(
    server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "LATENCY_REQUESTS", 2)
    run_server_bench(server.client.url, **QUICK, as_json=True)
    measured = json.loads(capsys.readouterr().out)
    [workload] = measured["workloads"]
    assert (workload["name"], workload["images"]) == ("resize-split-gaussian-jpg", 3)
    assert len(workload["seconds"]) == len(workload["upload_seconds"]) == 2
    assert all(
        0 < upload < total for upload, total in zip(workload["upload_seconds"], workload["seconds"], strict=True)
    )
    assert measured["latency"].keys() == {"p50_ms", "p90_ms", "p99_ms"}
    assert jobs(server) == []


def test_a_server_with_https_a_path_and_a_private_authority_is_measured(
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    without_service: Callable[[str], NoReturn],
) -> None:
    authority, tls = make_certificate(tmp_path, "IP:127.0.0.1", without_service)
    port = urlsplit(server.client.url).port
    assert port is not None
    with http_proxy(port, lambda _, path: path.removeprefix("/penstock"), tls=tls) as line:
        url = f"https://127.0.0.1:{line.server_port}/penstock"
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            run_server_bench(url, **QUICK, latency=False)
        monkeypatch.setenv("PENSTOCK_TLS_CA", str(authority))
        run_server_bench(url, **QUICK, latency=False)
    assert url in capsys.readouterr().out
    assert all(request.partition(" ")[2].startswith("/penstock/") for request in line.requests)


def test_a_result_that_differs_from_opencvs_fails_the_benchmark(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verifier, "_are_equal", lambda *_: False)
    with pytest.raises(BenchError, match=r"image-00000-0\.jpg of the server differs from the pool's"):
        run_server_bench(server.client.url, **QUICK, latency=False)
    assert jobs(server) == []


def test_a_stalled_job_fails_the_benchmark_and_is_deleted(server: Any) -> None:
    with pytest.raises(BenchError, match="GET /v1/steps shows the bottleneck") as caught:
        run_server_bench(server.client.url, **QUICK, latency=False, stall_secs=-1.0)
    assert caught.value.exit_code == 1
    assert jobs(server) == []


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["https://127.0.0.1:1"], 2, "penstock: none.pem has no certificates: No such file or directory"),
        (["http://127.0.0.1:1"], 3, "penstock: no answer from http://127.0.0.1:1"),
        (["localhost:8080"], 2, "penstock: --server localhost:8080: not a server; accepted is http://host:port"),
        (["http://127.0.0.1:1", "--broker", "amqp://h"], 2, "--broker and --contestant cannot be combined with it"),
        (["http://127.0.0.1:1", "--workload", "x"], 2, "penstock: no workload 'x'; accepted are resize-split"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(penstock: Any, options: list[str], status: int, message: str) -> None:
    ran = penstock("bench", "--server", *options, PENSTOCK_TLS_CA="none.pem")
    assert ran.returncode == status
    assert message in ran.stderr


def test_a_server_is_given_by_its_url() -> None:
    assert read_server("https://penstock.example/") == "https://penstock.example"
    with pytest.raises(PenstockError, match="not a server"):
        read_server("http://")


def test_the_table_shows_the_median_round() -> None:
    figures = ServerFigures(WORKLOADS[0], 100, [1.0, 1.0, 1.0], [2.0, 4.0, 100.0])
    table = show_table("http://host", [figures], [0.02])
    assert "| 100    | 25.0     | 25%         |" in table
    assert "p50 20.0 ms" in table
