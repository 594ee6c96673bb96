"""Operations, steps, health, metrics, and errors of the whole application."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import gethostname

import pytest
from api_server import ApiServer, Serve
from prometheus_client.parser import text_string_to_metric_families

from penstock.common.broker.memory import MemoryBroker
from penstock.common.broker.rabbitmq.broker import RabbitBroker
from penstock.common.model.errors import UnavailableError
from penstock.common.model.operations import BUILT_IN, Parameters
from penstock.common.registry import CustomStep, custom_steps, declare_steps, disable_steps
from penstock.common.settings import BrokerSettings, DeclaredStep
from penstock.coordinator.ports.scheduler import WorkerState
from penstock.coordinator.scheduling.replicas import Replicas


class BrokenBroker(MemoryBroker):
    """A broker that is unreachable."""

    def declare(self, queues: Sequence[str]) -> None:
        raise UnavailableError("broker", "amqp://user:secret@10.0.0.1 refused the connection")


class Brighten(Parameters):
    """Add to every channel."""

    example = 10
    amount: int = 10


@pytest.fixture
def custom_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A custom step, as an installed package provides it."""
    custom = CustomStep("brighten", Brighten, lambda image, _: image)

    class EntryPoint:
        name, value = "brighten", "package:brighten"

        @staticmethod
        def load() -> CustomStep:
            return custom

    monkeypatch.setattr("penstock.common.registry.entry_points", lambda group: [EntryPoint])
    custom_steps.cache_clear()
    yield
    custom_steps.cache_clear()


def test_operations_have_a_schema_and_an_example_that_a_job_accepts(
    custom_step: None, coordinator: ApiServer, jpeg: bytes
) -> None:
    listed = coordinator.http.get("/v1/operations").json()["operations"]
    assert [operation["name"] for operation in listed] == ["decode", *BUILT_IN, "brighten", "gather"]
    assert [operation["name"] for operation in listed if operation["group"]] == ["contact-sheet"]
    resize = listed[1]
    assert resize["parameters"]["properties"]["width"]["maximum"] == 32_768
    assert resize["example"] == {
        "short": ["resize", "inside:512x512"],
        "long": {"op": "resize", "width": 512, "height": 512, "fit": "inside"},
    }
    assert listed[-2]["description"] == "Add to every channel."
    for form in "short", "long":
        named = [operation for operation in listed if operation["name"] != "encode" and not operation["group"]]
        operations = [operation["example"][form] for operation in named]
        assert coordinator.submit(["a.jpg"], jpeg, operations=operations)["state"] == "accepted"


def test_a_disabled_step_is_not_offered_and_refused_by_name(coordinator: ApiServer, jpeg: bytes) -> None:
    body = {"operations": [["crop", "16:9"]]}
    job = coordinator.submit(["a.jpg"], jpeg, **body)
    disable_steps(["crop"])
    try:
        assert "crop" not in [each["name"] for each in coordinator.http.get("/v1/operations").json()["operations"]]
        files = [("files", ("a.jpg", jpeg))]
        refused = coordinator.http.post("/v1/jobs", data={"job": json.dumps(body)}, files=files)
        assert (refused.status_code, refused.json()["code"]) == (422, "operation_disabled")
        assert refused.json()["pointer"] == "/operations/0"
        assert "steps.crop.enabled=true" in refused.json()["detail"]
        retried = coordinator.http.post(f"{job['url']}/retry")
        assert (retried.status_code, retried.json()["code"]) == (422, "operation_disabled")
        assert coordinator.http.get(job["url"]).json()["operations"][0]["op"] == "crop"
    finally:
        disable_steps([])


def test_a_broken_step_is_a_problem_and_the_server_stays_ready(coordinator: ApiServer, jpeg: bytes) -> None:
    declare_steps({"sharpen": DeclaredStep(params={"type": "nonsense"})})
    try:
        ready = coordinator.http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert "declared step sharpen: not a JSON Schema" in ready.json()["problems"]["step sharpen"]
        body = {"operations": [["sharpen", 1]]}
        files = [("files", ("a.jpg", jpeg))]
        refused = coordinator.http.post("/v1/jobs", data={"job": json.dumps(body)}, files=files)
        assert (refused.status_code, refused.json()["code"]) == (422, "operation_disabled")
        assert "not a JSON Schema" in refused.json()["detail"]
        assert coordinator.submit(["a.jpg"], jpeg)["state"] == "accepted"
    finally:
        declare_steps({})


def test_steps_show_the_bottleneck(coordinator: ApiServer) -> None:
    shown = coordinator.http.get("/v1/steps").json()
    assert shown["bottleneck"] == "blur"
    assert shown["steps"][1]["backlog_seconds"] == 2.0
    assert shown["steps"][2]["seconds_per_image"] is None


def test_advice_says_how_many_replicas_would_help(serve: Serve) -> None:
    known = {"blur": Replicas(desired=1, ready=1, deployments=("penstock-blur",))}
    shown = serve(find_replicas=known.get, advice_secs=0.5).http.get("/v1/steps").json()
    assert shown["advice"]["command"] == "kubectl scale deployment/penstock-blur --replicas=2"
    assert (shown["advice"]["step"], shown["advice"]["finishes_in_seconds"]) == ("blur", 0.5)
    assert shown["advice"]["sentence"] == "blur: 100% busy, 2.0 s of work left, replicas 1 + 1, finished in 0.5 s"


def test_steps_show_their_replicas_where_known(serve: Serve) -> None:
    known = {"blur": Replicas(desired=8, ready=3)}
    shown = serve(find_replicas=known.get).http.get("/v1/steps").json()["steps"]
    assert shown[1]["replicas"] == {"desired": 8, "ready": 3}
    assert shown[0]["replicas"] == {"desired": None, "ready": 2}, "its workers, if the replicas are unknown"


def test_the_backlog_of_steps_is_given_in_numbers(coordinator: ApiServer) -> None:
    told = coordinator.http.get("/v1/backlog", params={"steps": "blur, encode,blur"})
    assert told.json() == {
        "steps": ["blur", "encode"],
        "backlog_seconds": 2.0,
        "remaining": 80,
        "workers": 2,
        "wanted_workers": 0,
    }
    assert coordinator.http.get("/v1/backlog?steps=split").json()["backlog_seconds"] == 0


@pytest.mark.parametrize("secs", ["0", "-1", "1e-300", "inf", "nan", "x"])
def test_the_work_of_a_worker_is_a_number_within_bounds(coordinator: ApiServer, secs: str) -> None:
    answer = coordinator.http.get("/v1/backlog", params={"steps": "blur", "seconds_per_worker": secs})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize("steps", ["sharpen", "", "blur,"])
def test_an_unknown_step_has_no_backlog(coordinator: ApiServer, steps: str) -> None:
    answer = coordinator.http.get("/v1/backlog", params={"steps": steps})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"].endswith(f"there are {', '.join(BUILT_IN)}")
    assert coordinator.http.get("/v1/backlog").status_code == 422


def test_the_status_has_dependencies_and_workers(coordinator: ApiServer) -> None:
    coordinator.scheduler.known_workers = [
        WorkerState("host-a:17", ("blur",), "0.2.0", "blur", 3.5),
        WorkerState("worker-0", waiting_for="store full"),
    ]
    status = coordinator.http.get("/v1/status").json()
    assert [(each["name"], each["state"]) for each in status["dependencies"]] == [
        ("store", "ok"),
        ("database", "ok"),
        ("broker", "ok"),
    ]
    busy, waiting = status["workers"]
    assert (busy["host"], busy["process"], busy["version"], busy["step"]) == ("host-a", "17", "0.2.0", "blur")
    assert (busy["steps"], busy["seconds"]) == (["blur"], 3.5)
    assert (waiting["host"], waiting["process"], waiting["waiting_for"]) == (gethostname(), "worker-0", "store full")
    assert (waiting["seconds"], waiting["version"]) == (None, None)


def test_the_status_says_what_is_away(serve: Serve) -> None:
    status = serve(broker=BrokenBroker()).http.get("/v1/status").json()
    assert status["dependencies"][2] == {"name": "broker", "state": "away", "problem": None}
    assert "secret" not in json.dumps(status)


def test_the_history_of_steps_is_served(coordinator: ApiServer) -> None:
    history = coordinator.http.get("/v1/steps/history").json()
    assert (history["interval_seconds"], history["steps"]) == (10, [])


def test_readiness_names_what_it_checked(coordinator: ApiServer) -> None:
    assert coordinator.http.get("/healthz").json()["status"] == "alive"
    ready = coordinator.http.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert ready.json()["checks"] == {"store": "ok", "database": "ok", "broker": "ok"}


def test_an_unreachable_dependency_is_named_without_secrets(serve: Serve) -> None:
    coordinator = serve(broker=BrokenBroker())
    ready = coordinator.http.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["checks"] == {"store": "ok", "database": "ok", "broker": "away"}
    assert "retry-after" in ready.headers
    assert "secret" not in ready.text
    assert coordinator.http.get("/healthz").status_code == 200


def test_a_deleted_database_takes_no_jobs_and_readiness_says_what_to_do(
    coordinator: ApiServer, tmp_path: Path, jpeg: bytes
) -> None:
    job = coordinator.submit(["a.jpg"], jpeg)["url"]
    file = tmp_path / "penstock.db"
    kept = file.rename(file.with_suffix(".kept"))
    form = {"data": {"job": '{"operations": ["split"]}'}, "files": {"files": ("a.jpg", jpeg)}}
    refused = coordinator.http.post("/v1/jobs", **form)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert coordinator.http.get(job).status_code == 200
    ready = coordinator.http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "away")
    assert "start the server again" in ready.json()["problems"]["database"]
    assert str(tmp_path) not in ready.text
    kept.rename(file)
    assert "problems" not in coordinator.http.get("/readyz").json()
    assert coordinator.http.post("/v1/jobs", **form).status_code == 202


def test_readiness_does_not_wait_for_the_brokers_own_timeout(serve: Serve) -> None:
    broker = RabbitBroker("amqp://127.0.0.1:1/", BrokerSettings(broker_timeout_secs=3_600))
    coordinator = serve(broker=broker, check_timeout_secs=0.2)
    ready = coordinator.http.get("/readyz")
    broker.close()
    assert (ready.status_code, ready.json()["checks"]["broker"]) == (503, "away")


def test_the_steps_do_not_wait_for_the_brokers_own_timeout(serve: Serve) -> None:
    broker = RabbitBroker("amqp://127.0.0.1:1/", BrokerSettings(broker_timeout_secs=3_600))
    coordinator = serve(check_timeout_secs=0.2)
    coordinator.scheduler.before_steps = lambda: broker.depth("penstock.step.blur")
    answer = coordinator.http.get("/v1/steps")
    broker.close()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers


def test_an_unreachable_store_is_a_503_with_retry_after(coordinator: ApiServer, jpeg: bytes) -> None:
    uploads = coordinator.store.root / ".tmp"
    uploads.rmdir()
    answer = coordinator.http.post(
        "/process", data={"actions": '{"operations": [["split", true]]}'}, files={"files": ("a.jpg", jpeg)}
    )
    uploads.mkdir()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert str(uploads.parent) not in answer.text
    assert coordinator.services.repository.count_open_jobs() == 0


def test_metrics_count_requests_by_route_jobs_images_and_steps(coordinator: ApiServer, jpeg: bytes) -> None:
    job = coordinator.submit(["a.jpg", "b.jpg"], jpeg)
    coordinator.scheduler.finish(job["id"], fail={"b.jpg": "corrupt_image"})
    for n in range(50):
        coordinator.http.get(f"/v1/jobs/{n}")
        coordinator.http.get(f"/nowhere/{n}")
    coordinator.http.request("PROPFIND", "/")
    families = text_string_to_metric_families(coordinator.http.get("/metrics").text)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for f in families for sample in f.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[(name, tuple(sorted(labels.items())))]

    requests = "penstock_http_request_seconds_count"
    assert value(requests, method="GET", route="/v1/jobs/{job}", status="404") == 50
    assert value(requests, method="GET", route="unmatched", status="404") == 50
    assert value(requests, method="POST", route="/v1/jobs", status="202") == 1
    assert value(requests, method="other", route="/", status="405") == 1
    assert value("penstock_jobs", state="partial") == 1
    assert value("penstock_images_total", outcome="corrupt_image") == 1
    assert value("penstock_step_backlog_seconds", step="blur") == 2.0
    assert value("penstock_step_seconds_per_item", step="blur") == 0.05
    assert len({labels for name, labels in samples if name == requests}) == 4


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("PUT", "/process", 405, "method_not_allowed"),
        ("GET", "/process", 405, "method_not_allowed"),
        ("POST", "/v1/nowhere", 404, "not_found"),
    ],
)
def test_an_unknown_path_gets_a_problem_document(
    coordinator: ApiServer, method: str, path: str, status: int, code: str
) -> None:
    answer = coordinator.http.request(method, path, content=b"x" * 3_000_000 if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unexpected_error_reveals_no_details(coordinator: ApiServer) -> None:
    def fail() -> None:
        raise RuntimeError("/secret/path")

    coordinator.scheduler.before_steps = fail
    answer = coordinator.http.get("/v1/steps")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_every_response_has_security_headers(coordinator: ApiServer) -> None:
    for path in "/", "/v1/jobs", "/nowhere", "/static/", "/healthz":
        headers = coordinator.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in headers


def test_the_links_of_the_web_page_work(coordinator: ApiServer) -> None:
    page = coordinator.http.get("/").text
    for path in re.findall(r'href="([^"]+)"', page):
        assert coordinator.http.get(path).status_code == 200
    assert 'href="docs"' in page
    assert 'href="static/"' in page


def test_the_formats_that_are_read_are_listed_with_the_signatures_of_others(coordinator: ApiServer) -> None:
    found = coordinator.http.get("/v1/formats").json()
    assert {"type": "tiff", "name": "TIFF", "media_type": "image/tiff", "suffixes": [".tif", ".tiff"]} in found[
        "formats"
    ]
    assert {"name": "GIF", "parts": [{"offset": 0, "bytes": b"GIF89a".hex()}], "image": True} in found["signatures"]
