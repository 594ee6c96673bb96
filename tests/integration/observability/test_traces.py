"""Traces: one per chunk, through every queue, as a collector receives them from a running system."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from otlp_receiver import Received, Receiver, running_receiver
from waiting import wait_until

from penstock import __version__
from penstock.local.server_process import find_free_port, serve

OPERATIONS = [["resize", "160x120"], ["blur", "gaussian"]]
ENDED = {"succeeded", "partial", "failed"}
TRUNCATED = "bad.jpg"


def run_job(url: str, photos: list[Path], **more: object) -> dict[str, Any]:
    """Run a job with these images and a truncated one; return it when it has ended."""
    files = [("files", (photo.name, photo.read_bytes())) for photo in photos]
    files.append(("files", (TRUNCATED, photos[0].read_bytes()[:2_000])))
    document = {"operations": OPERATIONS, "chunk_size": 1, **more}
    job = httpx.post(f"{url}/v1/jobs", data={"job": json.dumps(document)}, files=files, timeout=30).json()

    def ended() -> bool:
        job.update(httpx.get(f"{url}/v1/jobs/{job['id']}", timeout=30).json())
        return job["state"] in ENDED

    wait_until(ended)
    return job


@pytest.fixture(scope="module")
def traced(drawn: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, dict[str, Any]]]:
    """What a collector received of a job of seven images, each in its own chunk, all traced."""
    folder = tmp_path_factory.mktemp("traced")
    with running_receiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "PENSTOCK_TRACE_RATIO": "1",
            "PENSTOCK_LOG_LEVEL": "debug",
        }
        options = ["--data", str(folder / "data"), "--placement", "per_step", "--workers", "1"]
        with serve(options, port=find_free_port(), environment=environment, log=folder / "log") as (url, _):
            job = run_job(url, drawn)
        wait_until(lambda: len(receiver.traces()) == len(drawn) + 1)  # each process exports its last spans on exit
        wait_until(
            lambda: all(names(trace)[-1] in ("write", "publish", "decode") for trace in receiver.traces().values())
        )
        job["log"] = (folder / "log").read_text()
        yield receiver, job


def names(trace: list[Received]) -> list[str]:
    return [span.name for span in trace]


def whole_traces(receiver: Receiver) -> list[list[Received]]:
    return [trace for trace in receiver.traces().values() if "work encode" in names(trace)]


def test_a_chunk_is_one_trace_from_its_dispatch_through_every_queue(traced: tuple[Receiver, dict[str, Any]]) -> None:
    whole = whole_traces(traced[0])
    assert len(whole) == traced[1]["images"]["done"] == 6
    for trace in whole:
        for step in "resize", "blur", "encode":
            assert {f"wait {step}", f"work {step}", step} <= set(names(trace)), step
        assert names(trace).count("publish") == 3, "to blur, to encode, and the outcome"
        assert names(trace).count("write") == 3, "two intermediates and the result"
        assert names(trace).count("read") == 3
        assert {span.service for span in trace} == {"penstock-coordinator", "penstock-worker"}


def test_each_span_has_its_cause_as_parent(traced: tuple[Receiver, dict[str, Any]]) -> None:
    trace = whole_traces(traced[0])[0]
    by_name = {span.name: span for span in trace}
    by_id = {span.id: span for span in trace}
    assert [span.name for span in trace if not span.parent] == ["dispatch resize"]
    assert by_id[by_name["work resize"].parent].name == "dispatch resize"
    assert by_id[by_name["work blur"].parent].name == "work resize"
    assert by_id[by_name["work encode"].parent].name == by_id[by_name["wait encode"].parent].name == "work blur"
    assert by_id[by_name["blur"].parent].name == "work blur"
    assert all(span.began_ns <= span.ended_ns for span in trace)


def test_spans_have_job_chunk_step_and_images_as_attributes(traced: tuple[Receiver, dict[str, Any]]) -> None:
    for trace in whole_traces(traced[0]):
        by_name = {span.name: span.attributes for span in trace}
        assert by_name["work blur"]["penstock.job"] == traced[1]["id"]
        assert by_name["work blur"]["penstock.step"] == "blur"
        assert by_name["work blur"]["penstock.images"] == 1
        assert by_name["work blur"]["penstock.chunk"] == by_name["dispatch resize"]["penstock.chunk"]


def test_a_failed_image_marks_the_spans_where_it_failed(traced: tuple[Receiver, dict[str, Any]]) -> None:
    failed = [span for span in traced[0].spans if span.failed is not None]
    assert [span.name for span in sorted(failed, key=lambda span: span.began_ns)] == ["work resize", "decode"]
    assert len({span.trace for span in failed}) == 1
    assert traced[1]["images"]["failed"] == 1


def test_log_records_have_job_step_and_chunk_and_probes_are_not_logged(
    traced: tuple[Receiver, dict[str, Any]],
) -> None:
    records = [json.loads(line) for line in traced[1]["log"].splitlines()]
    taken = [record for record in records if record["logger"] == "penstock.worker.worker"]
    assert {record["job"] for record in taken} == {traced[1]["id"]}
    assert {record["step"] for record in taken} == {"resize", "blur", "encode"}
    assert {record["chunk"] for record in taken} == {
        span.attributes["penstock.chunk"] for span in spans_named(traced, "work resize")
    }
    assert [record for record in records if "readyz" in json.dumps(record) or "GET /" in json.dumps(record)] == []
    assert any(f"Penstock {__version__} serves on http://" in record["message"] for record in records)


def spans_named(traced: tuple[Receiver, dict[str, Any]], name: str) -> list[Received]:
    return [span for span in traced[0].spans if span.name == name]


def test_chunks_outside_the_sample_are_not_traced(drawn: list[Path], tmp_path: Path) -> None:
    with running_receiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PENSTOCK_TRACE_RATIO": "0"}
        options = ["--data", str(tmp_path / "data"), "--workers", "1"]
        with serve(options, port=find_free_port(), environment=environment, log=tmp_path / "log") as (url, _):
            assert run_job(url, drawn[:2])["state"] == "partial"
        assert receiver.spans == []


def test_a_collector_that_never_answers_delays_neither_images_nor_exit(drawn: list[Path], tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "PENSTOCK_TRACE_RATIO": "1",
        }
        options = ["--data", str(tmp_path / "data"), "--workers", "1"]
        with serve(options, port=find_free_port(), environment=environment, log=tmp_path / "log") as (url, process):
            assert run_job(url, drawn)["images"]["done"] == len(drawn)
        assert process.returncode == 0, "it exited without a signal"
        silent.settimeout(0)
        silent.accept()[0].close()  # an export was attempted


def test_the_exporter_is_not_imported_unless_it_is_configured() -> None:
    program = """
import sys
from penstock.common.tracing.base import NO_TRACING
from penstock.common.tracing.base import open_tracing
assert open_tracing("worker") is NO_TRACING
import penstock.worker.worker, penstock.coordinator.scheduling.scheduler, penstock.local.serve
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
