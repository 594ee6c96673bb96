"""A server whose store or database is nearly full: new work is refused, the rest works, and monitors are told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Serve
from small_disk import Mount, fill

from penstock.common.store.local import LocalStore

RESERVE = 2**20
"""A twentieth of the disk."""
DOCUMENT = {"operations": [["split", True]]}
ACTIONS = '{"operations": [["split", true]]}'


@pytest.fixture
def folder(disk: Mount) -> Path:
    return disk("size=20m")


@pytest.fixture(params=["store", "database"])
def full(request: pytest.FixtureRequest) -> str:
    """What is on the small disk."""
    return str(request.param)


@pytest.fixture
def coordinator(serve: Serve, full: str, folder: Path) -> ApiServer:
    if full == "database":
        return serve(data=folder, reserve_bytes=2 * RESERVE)
    return serve(store=LocalStore(folder / "store", reserve_bytes=2 * RESERVE))


def requests(coordinator: ApiServer, jpeg: bytes, upload: str) -> dict[str, Any]:
    """Return the responses to all requests for new work."""
    http = coordinator.http
    files = {"files": ("a.jpg", jpeg)}
    return {
        "a job": http.post("/v1/jobs", json={**DOCUMENT, "inputs": [{"upload": upload}]}),
        "a form": http.post("/v1/jobs", data={"job": ACTIONS}, files=files),
        "/process": http.post("/process", data={"actions": ACTIONS}, files=files),
        "/v1/process": http.post("/v1/process?op=split", content=jpeg, headers={"Content-Type": "image/jpeg"}),
        "an upload": http.post("/v1/uploads"),
        "a file": http.put(f"/v1/uploads/{upload}/files/b.jpg", content=jpeg),
    }


@pytest.mark.parametrize(("keep_bytes", "state"), [(RESERVE - 8192, "nearly full"), (RESERVE // 3, "full")])
def test_new_work_is_refused_and_monitors_are_told(
    coordinator: ApiServer, full: str, folder: Path, jpeg: bytes, keep_bytes: int, state: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    http = coordinator.http
    upload = http.post("/v1/uploads").json()["id"]
    http.put(f"/v1/uploads/{upload}/files/a.jpg", content=jpeg)
    job = coordinator.submit(["a.jpg"], jpeg)["url"]
    assert http.get("/readyz").json()["checks"][full] == "ok"
    fill(folder / "full", keep_bytes)
    for what, answer in requests(coordinator, jpeg, upload).items():
        assert (answer.status_code, answer.json()["code"]) == (507, "full"), what
        assert answer.json()["detail"].startswith(f"the {full} is full ("), what
        assert int(answer.headers["retry-after"]) == 60
    for _ in range(2):
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"], ready.json()["checks"][full]) == (200, True, state)
        assert "delete some, or enlarge its volume" in ready.json()["problems"][full]
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1
    metrics = http.get("/metrics").text
    free, reserve = (
        float(
            next(line for line in metrics.splitlines() if line.startswith(f'{name}{{dependency="{full}"}}')).split()[1]
        )
        for name in ("penstock_room_free_bytes", "penstock_room_reserve_bytes")
    )
    assert free <= keep_bytes < reserve == RESERVE
    assert http.get(job).status_code == 200
    assert http.post(f"{job}/cancel").status_code == 202
    assert http.delete(job).status_code == 204
    assert http.delete(f"/v1/uploads/{upload}").status_code == 204
    (folder / "full").unlink()
    assert "problems" not in http.get("/readyz").json()
    assert coordinator.submit(["a.jpg"], jpeg)["images"]["total"] == 1


def test_a_dry_run_and_a_repeated_request_are_answered(coordinator: ApiServer, folder: Path, jpeg: bytes) -> None:
    def submit(query: str = "") -> Any:
        return coordinator.http.post(
            f"/v1/jobs{query}",
            data={"job": ACTIONS},
            files={"files": ("a.jpg", jpeg)},
            headers={"Idempotency-Key": "k"},
        )

    first = submit().json()
    fill(folder / "full", RESERVE // 2 + 400_000)
    assert (submit().status_code, submit().json()["id"]) == (200, first["id"])
    assert submit("?dry_run=true").status_code == 200
